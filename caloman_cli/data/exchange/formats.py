"""Files of point clouds: which kind a file is, and what is common to all kinds."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from caloman_cli.data.container import open_hdf5, require_regular
from caloman_cli.data.exchange.clouds import Clouds
from caloman_cli.errors import FileError, UserError, shown

Kind = Literal["showers", "points", "root", "parquet"]
HDF5 = (".hdf5", ".h5")
FACTS = "caloman"
"""Name of the text with a file's facts, JSON, in ROOT and Parquet."""
INCIDENT = "incident_energy"
"""Name of the column of incident energies [MeV] in ROOT and Parquet."""
ROWS = 1000
"""Showers in a piece of a file."""
_PARTICLES = {"photon": 22, "electron": 11, "positron": -11, "muon": 13, "pion": 211,
              "proton": 2212, "neutron": 2112, "kaon": 321}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """An open file of point clouds.

    Args:
        n: Number of showers.
        blocks: All showers in order, once.
        facts: What the file says of itself, in plain types.
    """

    n: int
    blocks: Iterator[Clouds]
    facts: Mapping[str, Any] = field(default_factory=dict)


Writer = Callable[[Clouds], None]


def kind_of(path: Path) -> Kind:
    """What a file is: by its end, an HDF5 file by what it holds.

    Raises:
        FileError: It is none of them.
    """
    require_regular(path, "a file of showers")
    if path.suffix == ".root":
        return "root"
    if path.suffix in (".parquet", ".pq"):
        return "parquet"
    with open_hdf5(path) as file:
        if {"showers", "energies", "num_points", "shape"} <= set(file):
            return "points"
        if {"showers", "incident_energies"} <= set(file):
            return "showers"
    raise FileError(
        f"{path} holds neither showers ('showers', 'incident_energies') nor point clouds "
        "('showers', 'energies', 'num_points', 'shape')"
    )


def kind_to_write(out: Path, source: Kind) -> Kind:
    """What a file's name says that it will be.

    Raises:
        UserError: The name ends otherwise, or one kind of points should become another.
    """
    if out.suffix in HDF5:
        return "points" if source == "showers" else "showers"
    found: dict[str, Kind] = {".root": "root", ".parquet": "parquet", ".pq": "parquet"}
    if out.suffix not in found:
        raise UserError(
            f"{out} has to end in .hdf5 or .h5 (of showers it becomes point clouds, of these "
            "showers), .root or .parquet"
        )
    if source != "showers":
        raise UserError(
            f"points cannot become {found[out.suffix]} at once: convert to showers (.hdf5) first"
        )
    return found[out.suffix]


def pdg_of(particle: str, given: int | None) -> int:
    """The number of the Particle Data Group for a particle.

    Raises:
        UserError: It is not known here and was not given.
    """
    if given is not None:
        return given
    if particle not in _PARTICLES:
        raise UserError(f"which particle is {particle}? Give its number, pdg=22 for a photon")
    return _PARTICLES[particle]


@contextmanager
def counted(write: Writer, n: int) -> Iterator[Writer]:
    """The same, which has to have got n showers when the block ends.

    Raises:
        ValueError: It has got others.
    """
    done = 0

    def counting(clouds: Clouds) -> None:
        nonlocal done
        write(clouds)
        done += len(clouds.counts)

    yield counting
    if done != n:
        raise ValueError(f"{done} showers of {n} were written")


def facts_to_write(facts: Mapping[str, Any]) -> str:
    """What :func:`facts_in` reads."""
    return json.dumps({**facts, "unit": "MeV"}, allow_nan=False)


def facts_in(text: str, path: Path) -> dict[str, Any]:
    """Read what :data:`FACTS` says."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise FileError(f"{path}: '{FACTS}' is not readable: remove it, or write the file again")
    if found.get("unit", "MeV") != "MeV":
        raise FileError(f"{path} says that it is in {shown(found['unit'])}: it has to be in MeV")
    return found
