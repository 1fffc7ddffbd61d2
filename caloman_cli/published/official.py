"""Which files are the challenge's own: the published scores are against these, byte for byte.

What a config names as a dataset's files may be overridden; these checksums may not.

References:
    Zenodo records 10.5281/zenodo.8099322 (dataset 1), 10.5281/zenodo.6366270 (dataset 2) and
    10.5281/zenodo.6366323 (dataset 3).
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import h5py

from caloman_cli.data.files import checksum
from caloman_cli.data.geometry import official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.published.caveats import is_toy

REFERENCE: Mapping[str, Mapping[str, str]] = {  # MD5 by name of the file, by dataset
    "ds1_photons": {"dataset_1_photons_2.hdf5": "4767715ed56e99565fd9c67340661e70"},
    "ds1_pions": {"dataset_1_pions_2.hdf5": "fee7457b40127bc23c8ab909e2638ca0"},
    "ds2": {"dataset_2_2.hdf5": "7a56fd68aa53ded37c2ac445694d9736"},
    "ds3": {
        "dataset_3_3.hdf5": "5ea62f6831a1821bb5035fafc9f030e8",
        "dataset_3_4.hdf5": "5e8d82e6a6c28c6914a3b602a1cfa299",
    },
}

_TRAINING: Mapping[str, Mapping[str, str]] = {
    "ds1_photons": {"dataset_1_photons_1.hdf5": "005d2adeda7db034b388112661265656"},
    "ds1_pions": {"dataset_1_pions_1.hdf5": "6a5f52722064a1bcd8a0bc002f16515d"},
    "ds2": {"dataset_2_1.hdf5": "e590333e9a2da51b258288d74bd8357a"},
    "ds3": {
        "dataset_3_1.hdf5": "d33f03418aa311b0965452fcbef1ff87",
        "dataset_3_2.hdf5": "911dec2c40aafa64a07b7450b80881bf",
    },
}


def is_official(reference: Showers) -> bool:
    """Whether showers are the official reference of their detector, told by names, then content.

    Args:
        reference: Showers.
    """
    expected = REFERENCE.get(reference.geometry.name)
    if not reference.is_whole or expected is None:
        return False
    if sorted(path.name for path in reference.paths) != sorted(expected):
        return False
    return all(_is_one_of(expected, path) for path in reference.paths)


def simulation(showers: Showers) -> str:
    """What made showers, as far as that was said: ``Geant4``, ``built-in toy`` or ``reference``.

    Geant4 are the challenge's own files, and those whose attribute ``generator`` names it.
    """
    if is_toy(showers):
        return "built-in toy"
    name = showers.geometry.name
    known = {**REFERENCE.get(name, {}), **_TRAINING.get(name, {})}
    said = [_says_geant4(path) or _is_one_of(known, path) for path in showers.paths]
    return "Geant4" if said and all(said) else "reference"


def _says_geant4(path: Path) -> bool:
    with h5py.File(path, "r") as file:
        return "geant4" in str(file.attrs.get("generator", "")).lower()


def _is_one_of(known: Mapping[str, str], path: Path) -> bool:
    if path.name not in known:
        return False
    return _md5(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns) == known[path.name]


def other_geometry(reference: Showers) -> str | None:
    """What a detector of an official name has otherwise than the official one, or None."""
    given, official = reference.geometry, official_geometries()[reference.geometry.name]
    if given.threshold != official.threshold:
        return f"readout cut {given.threshold:g} MeV, not {official.threshold:g}"
    return None if given.layers == official.layers else "other layers than the official ones"


@cache
def _md5(path: Path, size: int, changed: int) -> str:
    """Checksum of a file, computed once for each state of it."""
    return checksum(path, "md5")
