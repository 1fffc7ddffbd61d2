"""Point clouds in HDF5 as the package showerdata has them.

References:
    T. Buss et al., ShowerData 0.7 (2026), https://flc-qu-hep.github.io/ShowerData.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from caloman_cli.data.attributes import plain
from caloman_cli.data.container import open_dataset, open_hdf5, reading
from caloman_cli.data.exchange.clouds import Clouds
from caloman_cli.data.exchange.formats import ROWS, Source, Writer
from caloman_cli.data.files import replacing
from caloman_cli.data.hdf5 import ENERGIES, SHOWERS, check_energies
from caloman_cli.errors import FileError, UserError

VERSION = "0.7.0"
"""The version of showerdata whose layout is written."""
_SCALE = {"MeV": 1.0, "GeV": 1e-3}
_LISTS = h5py.vlen_dtype(np.dtype(np.float32))
_ALONG = 1e-4  # largest deviation of a direction from z


@contextmanager
def writing(path: Path, n: int, pdg: int, unit: str, facts: Mapping[str, Any]) -> Iterator[Writer]:
    """Write n showers in blocks; the file appears when they are all in it.

    Args:
        path: The file.
        n: Number of showers.
        pdg: Number of the incident particle.
        unit: Of all energies but ``incident_energies``: MeV or GeV.
        facts: Attributes.
    """
    done, most = 0, 0
    with replacing(path) as part:
        file = h5py.File(part, "w", locking=False)
        try:
            showers = file.create_dataset(SHOWERS, (n,), _LISTS)
            incident, numbers = np.empty((n, 1)), np.empty(n, np.int32)

            def write(clouds: Clouds) -> None:
                nonlocal done, most
                stop = done + len(clouds.counts)
                points = clouds.points.copy()
                points[:, 3] = points[:, 3].astype(np.float64) * _SCALE[unit]
                _write_lists(showers, done, np.split(points, np.cumsum(clouds.counts)[:-1]))
                incident[done:stop], numbers[done:stop] = clouds.incident, clouds.counts
                done, most = stop, max(most, int(clouds.counts.max(initial=0)))

            yield write
            if done != n:
                raise ValueError(f"{done} showers of {n} were written")
            file["energies"] = (incident * _SCALE[unit]).astype(np.float32)
            file[ENERGIES] = incident
            file["directions"] = np.tile(np.array([0, 0, 1], np.float32), (n, 1))
            file["pdg"] = np.full(n, pdg, np.int32)
            file["shower_ids"] = np.arange(n, dtype=np.int32)
            file["shape"] = np.array([n, most, 4], np.int64)
            file["num_points"] = numbers
            file.attrs.update({**facts, "unit": unit, "showerdata_version": VERSION})
            file.close()
        finally:
            with suppress(OSError, RuntimeError):  # it could not be flushed: its bytes go anyway
                file.close()


@contextmanager
def source(path: Path, unit: str | None) -> Iterator[Source]:
    """Open a file; a column of times is left out.

    Args:
        path: The file.
        unit: Of its energies, where it does not say so itself.

    Raises:
        UserError: The file is damaged, its unit is not known or not as given, or its particles
            do not come along z.
    """
    with open_hdf5(path) as file:
        numbers, shape, energies, directions = (
            open_dataset(file, path, name)
            for name in ("num_points", "shape", "energies", "directions")
        )
        showers = open_dataset(file, path, SHOWERS, None)
        if h5py.check_vlen_dtype(showers.dtype) != np.float32 or showers.ndim != 1:
            raise FileError(f"{path}: '{SHOWERS}' must be one list of float32 for each shower")
        with reading(path, "shape"):
            form = [int(size) for size in np.ravel(shape[()])]
        n = len(showers)
        if len(form) != 3 or form[0] != n or form[2] not in (4, 5):
            raise FileError(f"{path}: 'shape' is {form}, must be [{n}, most points, 4 or 5]")
        facts = {key: plain(value) for key, value in file.attrs.items()}
        scale = 1 / _SCALE[_unit(path, unit, facts)]
        incident = _incident(file, path, energies, n, scale)
        with reading(path, "num_points"):
            counts = np.ravel(numbers[()]).astype(np.int64)
        _check_directions(directions, path, n)
        if len(counts) != n:
            raise FileError(f"{path}: 'num_points' has {len(counts)} rows and '{SHOWERS}' {n}")

        def blocks() -> Iterator[Clouds]:
            for start in range(0, n, ROWS):
                with reading(path, SHOWERS):
                    lists = showers[start : start + ROWS]
                    points = np.concatenate([*lists, np.empty(0, np.float32)])
                wanted = counts[start : start + ROWS] * form[2]
                bad = np.flatnonzero(np.array([len(one) for one in lists]) != wanted)
                if len(bad):
                    raise FileError(
                        f"{path}: shower {start + bad[0]} has {len(lists[bad[0]])} numbers, "
                        f"'num_points' says {wanted[bad[0]]}"
                    )
                points = points.reshape(-1, form[2])[:, :4].copy()
                points[:, 3] = points[:, 3].astype(np.float64) * scale
                yield Clouds(incident[start : start + ROWS], counts[start : start + ROWS], points)

        yield Source(n, blocks(), facts)


def _write_lists(dataset: h5py.Dataset, start: int, lists: list[np.ndarray]) -> None:
    # Through HDF5's own call: h5py takes lists of one length for a matrix.
    rows = np.empty(len(lists), object)
    for number, one in enumerate(lists):
        rows[number] = one.ravel()
    there = dataset.id.get_space()
    there.select_hyperslab((start,), (len(lists),))
    here = h5py.h5s.create_simple((len(lists),))
    dataset.id.write(here, there, rows, h5py.h5t.py_create(_LISTS))


def _unit(path: Path, asked: str | None, facts: Mapping[str, Any]) -> str:
    said = facts.get("unit")
    if said is not None and said not in _SCALE:
        raise FileError(f"{path} has unit {said}: MeV and GeV are understood")
    if said is not None and asked not in (None, said):
        raise UserError(f"unit={asked}, but {path} says that it is in {said}: leave unit out")
    if said is None and asked is None:
        raise UserError(f"{path} does not say its unit: give unit=GeV or unit=MeV")
    return str(said or asked)


def _incident(
    file: h5py.File, path: Path, energies: h5py.Dataset, n: int, scale: float
) -> np.ndarray:
    """Incident energies [MeV], (N, 1): those in double precision, where they are there."""
    with reading(path, "energies"):
        rounded = np.asarray(energies[()], np.float64).reshape(-1, 1) * scale
    found = rounded
    if ENERGIES in file:
        exact = open_dataset(file, path, ENERGIES)
        with reading(path, ENERGIES):
            found = np.asarray(exact[()], np.float64).reshape(-1, 1)
        if found.shape != rounded.shape or not np.allclose(found, rounded, rtol=1e-6, atol=0):
            raise FileError(f"{path}: '{ENERGIES}' and 'energies' do not agree: remove the former")
    if len(found) != n:
        raise FileError(f"{path}: 'energies' has {len(found)} rows and '{SHOWERS}' {n}")
    check_energies(found, str(path))
    return found


def _check_directions(directions: h5py.Dataset, path: Path, n: int) -> None:
    with reading(path, "directions"):
        found = np.asarray(directions[()], np.float64)
    if found.shape != (n, 3):
        raise FileError(f"{path}: 'directions' has shape {found.shape}, must be ({n}, 3)")
    tilted = np.abs(found - [0, 0, 1]).max(1) > _ALONG
    if tilted.any():
        raise UserError(
            f"{path}: {int(tilted.sum())} of {n} particles do not come along z, as rings around "
            "the axis need it: leave them out"
        )
