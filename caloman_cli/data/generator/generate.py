"""Showers without any file: a parametrised simulation, seeded and fast."""

import logging
from collections.abc import Iterator

import numpy as np

from caloman_cli.data.generator.presets import PRESETS, Preset
from caloman_cli.data.generator.voxelise import voxelise
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

log = logging.getLogger(__name__)

VERSION = "1"
"""Changes whenever the same seed gives other showers; part of every cache key."""

_ENERGY_STREAM, _SHOWER_STREAM = 0, 1


def generate(
    geometry: Geometry, n: int, seed: int, energies: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate showers in memory; see :func:`iterate_generated`.

    Returns:
        Incident energies [MeV], float64, shape (n, 1), and voxels [MeV], float32, shape (n, V).
    """
    incident = np.empty((n, 1))
    voxels = np.empty((n, geometry.n_voxels), np.float32)
    row = 0
    for some_energies, some_voxels in iterate_generated(geometry, n, seed, energies):
        part = slice(row, row + len(some_energies))
        incident[part], voxels[part] = some_energies, some_voxels
        row = part.stop
    return incident, voxels


def iterate_generated(
    geometry: Geometry, n: int, seed: int, energies: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Simulate showers block by block, in bounded memory.

    Each block of a fixed number of rows has random numbers of its own. The first rows are
    therefore the same for a larger n, and the showers of ``generate(geometry, n, seed)`` are
    those of the same call with its own energies given. With other energies given, a shower
    depends on the energies of its block, too.

    Args:
        geometry: One of the detectors in :data:`~caloman_cli.data.generator.presets.PRESETS`.
        n: Number of showers.
        seed: Non-negative seed.
        energies: Incident energies [MeV], shape (n,) or (n, 1); drawn from the geometry's
            spectrum if None.

    Yields:
        Incident energies [MeV], float64, shape (b, 1), and voxels [MeV], float32, shape (b, V).

    Raises:
        UserError: The generator does not know the detector, or an argument is out of range.
    """
    preset = _preset_of(geometry)
    if n < 1:
        raise UserError(f"n={n} showers asked for: give n=1 or more")
    if seed < 0:
        raise UserError(f"seed={seed} is negative: give seed=0 or more")
    given = None if energies is None else _checked_energies(energies, n)
    return _blocks(geometry, preset, n, seed, given)


def draw_energies(generator: np.random.Generator, geometry: Geometry, n: int) -> np.ndarray:
    """Draw incident energies from the geometry's spectrum [MeV], float64, shape (n,).

    Raises:
        UserError: The geometry has neither discrete energies nor a range.
    """
    if geometry.incident_energies is not None:
        weights = geometry.incident_weights or (1.0,) * len(geometry.incident_energies)
        share = np.array(weights) / sum(weights)
        return generator.choice(np.array(geometry.incident_energies), n, p=share)
    if geometry.incident_range is not None:
        low, high = geometry.incident_range
        return np.exp(generator.uniform(np.log(low), np.log(high), n))
    raise UserError(
        f"geometry {geometry.name} has no spectrum: give incident_energies or incident_range"
    )


def _blocks(
    geometry: Geometry, preset: Preset, n: int, seed: int, given: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    log.debug("simulating %d showers of %s with seed %d", n, geometry.name, seed)
    for block, start in enumerate(range(0, n, preset.block)):
        rows = min(preset.block, n - start)
        # A last block that is cut short is simulated whole: its rows are then those of a larger n.
        energies = draw_energies(_generator(seed, block, _ENERGY_STREAM), geometry, preset.block)
        if given is not None:
            energies[:rows] = given[start : start + rows]
        generator = _generator(seed, block, _SHOWER_STREAM)
        cascade = preset.simulate(generator, energies)
        voxels = voxelise(generator, cascade, geometry, preset.cut)
        yield energies[:rows, None], voxels[:rows]


def _generator(seed: int, block: int, stream: int) -> np.random.Generator:
    sequence = np.random.SeedSequence(seed, spawn_key=(block, stream))
    return np.random.Generator(np.random.SFC64(sequence))


def _preset_of(geometry: Geometry) -> Preset:
    preset = PRESETS.get(geometry.name)
    if preset is None:
        raise UserError(
            f"the built-in generator does not know the detector '{geometry.name}': "
            f"it has {', '.join(PRESETS)}; give files for any other"
        )
    if len(preset.windows) != geometry.n_layers:
        raise UserError(
            f"the built-in generator knows {geometry.name} with {len(preset.windows)} layers, "
            f"this geometry has {geometry.n_layers}: give it another name and files of showers"
        )
    return preset


def _checked_energies(energies: np.ndarray, n: int) -> np.ndarray:
    energies = np.asarray(energies, np.float64)
    if energies.shape not in ((n,), (n, 1)):
        raise UserError(
            f"energies have shape {energies.shape}: {n} showers need ({n},) or ({n}, 1)"
        )
    wrong = np.flatnonzero(~(np.isfinite(energies) & (energies > 0)))
    if len(wrong):
        raise UserError(
            f"incident energy {energies.ravel()[wrong[0]]} in row {wrong[0]}: "
            "energies must be finite and above 0 MeV"
        )
    return energies.reshape(n)
