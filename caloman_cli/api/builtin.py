"""Showers without any file."""

from typing import Any

from caloman_cli.api.given import check_whole, column
from caloman_cli.data.generator import generate as simulate
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError


def generate(dataset: str, n: int | None = None, seed: int = 1, energies: Any = None) -> Showers:
    """Simulate showers with the built-in generator: toys, not Geant4.

    The same ones as ``caloman data generate`` writes.

    Args:
        dataset: A dataset or a detector with a built-in generator, e.g. ``builtin_photons``.
        n: How many; not needed with energies.
        seed: Equal seeds give equal showers.
        energies: Incident energies [MeV], (N,) or (N, 1); None draws the dataset's spectrum.

    Raises:
        UserError: The detector has no generator, or an argument is out of range.
    """
    geometry = Geometry.named(dataset)
    rows = None if energies is None else column(energies)
    if n is None and rows is None:
        raise UserError("say how many showers, n=NUMBER, or for which energies, energies=...")
    size = len(rows) if n is None and rows is not None else n
    check_whole("n", size, least=1)
    check_whole("seed", seed, least=0)
    incident, voxels = simulate(geometry, int(size or 0), int(seed), rows)
    return Showers.from_arrays(incident, voxels, geometry, f"built-in {geometry.name}")
