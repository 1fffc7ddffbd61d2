"""Charged pions: a track until the first interaction, then an electromagnetic and a hadronic part.

Energies are in GeV inside this file; depths are in radiation lengths for the electromagnetic part
and in interaction lengths for everything else.

References:
    Bock, Hansl-Kozanecka, Shah (1981), Parametrization of the longitudinal development of
    hadronic showers in sampling calorimeters, NIM 186, 533.
    Gabriel, Groom, Job, Mokhov, Stevenson (1994), Energy dependence of hadronic activity,
    NIM A 338, 336: the mean electromagnetic fraction.
"""

from dataclasses import dataclass

import numpy as np

from caloman_cli.data.generator.cascade import Cascade, Source, depth_in_shower, gamma_shares
from caloman_cli.data.generator.electromagnetic import (
    lateral_profile,
    longitudinal_profile,
    sampled_energy,
)
from caloman_cli.data.generator.medium import Medium

# The energy below which no neutral pion is made [GeV] and the exponent of Gabriel et al.
_FRACTION_SCALE, _FRACTION_EXPONENT = 1.0, 0.82


@dataclass(frozen=True)
class HadronicPreset:
    """The facts and the calibration of a calorimeter for hadrons.

    Args:
        medium: The sampling medium of the electromagnetic part.
        windows: Depth at which each layer begins and ends [X0], one pair per layer.
        interaction_windows: The same [interaction lengths].
        track_energies: Energy that a minimum ionising track leaves in each layer [MeV].
        interaction_depth: Mean depth of the first interaction [interaction lengths].
        response: Mean visible over total energy of the hadronic part.
        resolution: Sampling fluctuation of the hadronic part.
        spots_per_gev: Energy spots per GeV of the (electromagnetic, hadronic) part.
        spot_shapes: Shape of the gamma distribution of one spot's energy in either part.
        radius: Scale of the hadronic part's lateral radius [mm].
        vertex_spread: Spread of the track at the calorimeter's face, in each direction [mm].
        tilt_spread: Spread of the axis' slope in each direction.
        scatter: Shift of the axis at the first interaction of a 1 GeV pion [mm].
        cut: Voxels below are not recorded [MeV].
        block: Showers simulated together.
    """

    medium: Medium
    windows: tuple[tuple[float, float], ...]
    interaction_windows: tuple[tuple[float, float], ...]
    track_energies: tuple[float, ...]
    interaction_depth: float
    response: float
    resolution: float
    spots_per_gev: tuple[float, float]
    spot_shapes: tuple[float, float]
    radius: float
    vertex_spread: float
    tilt_spread: float
    scatter: float
    cut: float
    block: int

    def simulate(self, generator: np.random.Generator, energies: np.ndarray) -> Cascade:
        """Simulate one shower for each incident energy [MeV], shape (B,)."""
        return hadronic_cascade(generator, energies, self)


def hadronic_cascade(
    generator: np.random.Generator, energies: np.ndarray, preset: HadronicPreset
) -> Cascade:
    """Simulate one charged pion for each incident energy.

    Args:
        generator: Source of randomness.
        energies: Incident energies [MeV], shape (B,).
        preset: The calorimeter.
    """
    energy = energies[:, None] / 1e3
    start = generator.exponential(preset.interaction_depth, energy.shape)
    fraction = _electromagnetic_fraction(generator, energy)
    return Cascade(
        sources=(
            _electromagnetic_part(generator, fraction * energy, start, preset),
            _hadronic_part(generator, energy, (1 - fraction) * energy, start, preset),
        ),
        axis=_axis(generator, energy, start, preset),
        track=_track(generator, energy, start, preset),
    )


def _log_energy(energy: np.ndarray) -> np.ndarray:
    """ln(E / GeV), held below 300 MeV where the parametrisations have no data."""
    return np.log(np.maximum(energy, 0.3))


def _electromagnetic_fraction(generator: np.random.Generator, energy: np.ndarray) -> np.ndarray:
    """Beta-distributed share of the energy that goes to neutral pions, shape (B, 1)."""
    scaled = np.maximum(energy / _FRACTION_SCALE, 1)
    mean = np.clip(1 - scaled ** (_FRACTION_EXPONENT - 1), 0.10, 0.85)
    concentration = 3 + 2 * np.log(scaled)
    return generator.beta(mean * concentration, (1 - mean) * concentration)


def _electromagnetic_part(
    generator: np.random.Generator, energy: np.ndarray, start: np.ndarray, preset: HadronicPreset
) -> Source:
    """The neutral pions' showers [GeV, interaction lengths], as one that starts at the vertex."""
    windows = np.array(preset.windows)
    borders = np.concatenate([[0], np.ravel(preset.interaction_windows)])
    vertex = np.interp(start, borders, np.concatenate([[0], windows.ravel()]))
    shower = np.maximum(energy, 0.05)
    profile = longitudinal_profile(generator, shower, preset.medium)
    # Several neutral pions start at different depths: broader than one shower.
    alpha = profile.alpha * generator.lognormal(0, 0.15, energy.shape)
    beta = profile.beta * generator.lognormal(0, 0.25, energy.shape)
    shares = gamma_shares(alpha, beta, vertex, windows)
    tau = np.minimum(depth_in_shower(vertex, windows) * profile.tau_scale, 4.0)
    core, tail, weight = lateral_profile(shower, tau, preset.medium)
    return Source(
        energy=1e3 * sampled_energy(generator, shares * energy, preset.medium.resolution),
        spots=generator.poisson(shares * preset.spots_per_gev[0] * shower),
        spot_shape=preset.spot_shapes[0],
        radii=np.stack([core, tail]),
        weights=np.stack([weight, 1 - weight]),
    )


def _hadronic_part(
    generator: np.random.Generator,
    incident: np.ndarray,
    energy: np.ndarray,
    start: np.ndarray,
    preset: HadronicPreset,
) -> Source:
    """Everything else; part of its energy breaks nuclei up and stays invisible."""
    windows = np.array(preset.interaction_windows)
    log_energy = _log_energy(incident)
    alpha = np.maximum(0.6165 + 0.3183 * log_energy, 0.35)
    alpha = alpha * generator.lognormal(0, 0.20, energy.shape)
    beta = np.maximum(0.9099 - 0.0237 * log_energy, 0.4)
    beta = beta * generator.lognormal(0, 0.20, energy.shape)
    shares = gamma_shares(alpha, beta, start, windows)
    visible = preset.response * energy * generator.lognormal(-0.5 * 0.25**2, 0.25, energy.shape)
    depth = depth_in_shower(start, windows)
    spread = generator.lognormal(0, 0.3, energy.shape) * np.exp(-0.06 * log_energy)
    core = preset.radius * spread * (0.35 + 0.9 * depth**0.7)
    return Source(
        energy=1e3 * sampled_energy(generator, shares * visible, preset.resolution),
        spots=generator.poisson(shares * preset.spots_per_gev[1] * energy),
        spot_shape=preset.spot_shapes[1],
        radii=np.stack([core, 3 * core]),
        weights=np.stack([np.full_like(core, 0.75), np.full_like(core, 0.25)]),
    )


def _track(
    generator: np.random.Generator, energy: np.ndarray, start: np.ndarray, preset: HadronicPreset
) -> np.ndarray:
    """Ionisation up to the first interaction [MeV], at most 80 % of the energy, shape (B, L)."""
    windows = np.array(preset.interaction_windows)
    crossed = np.clip((start - windows[:, 0]) / (windows[:, 1] - windows[:, 0]), 0, 1)
    track = crossed * np.array(preset.track_energies) * generator.lognormal(0, 0.15, crossed.shape)
    total = np.maximum(track.sum(1, keepdims=True), 1e-9)
    return track * np.minimum(1, 0.8 * 1e3 * energy / total)


def _axis(
    generator: np.random.Generator, energy: np.ndarray, start: np.ndarray, preset: HadronicPreset
) -> np.ndarray:
    """The track's line, displaced behind the first interaction [mm], shape (B, L, 2)."""
    n = len(energy)
    centres = np.array(preset.windows).mean(1) * preset.medium.radiation_length
    vertex = preset.vertex_spread * generator.standard_normal((n, 1, 2))
    slope = preset.tilt_spread * generator.standard_normal((n, 1, 2))
    scatter = preset.scatter * np.exp(-0.25 * _log_energy(energy))[..., None]
    kick = scatter * generator.standard_normal((n, 1, 2))
    behind = start < np.array(preset.interaction_windows)[:, 1]
    return vertex + slope * centres[:, None] + kick * behind[..., None]
