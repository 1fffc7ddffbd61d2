"""Electromagnetic showers after Grindhammer and Peters, with a soft halo and a primary track.

Energies are in GeV and depths in radiation lengths inside this file, as in the publication.

References:
    Grindhammer, Rudowicz, Peters (1990), The fast simulation of electromagnetic and hadronic
    showers, NIM A 290, 469.
    Grindhammer, Peters (1993), The parameterized simulation of electromagnetic showers in
    homogeneous and sampling calorimeters, arXiv:hep-ex/0001020.
"""

from dataclasses import dataclass

import numpy as np

from caloman_cli.data.generator.cascade import Cascade, Source, depth_in_shower, gamma_shares
from caloman_cli.data.generator.medium import Medium


@dataclass(frozen=True)
class Halo:
    """A broad component of soft photons; its spots carry half the energy of the others.

    Args:
        fraction: Share of the spots.
        alpha: Shape of its longitudinal profile.
        beta: Inverse length of its longitudinal profile [1/X0].
        radius: Lateral radius [Moliere radii].
    """

    fraction: float
    alpha: float
    beta: float
    radius: float


@dataclass(frozen=True)
class ElectromagneticPreset:
    """The facts and the calibration of an electromagnetic calorimeter.

    Args:
        medium: The sampling medium.
        windows: Depth at which each layer begins and ends [X0], one pair per layer.
        photon: The primary is a photon, which converts first; else an electron.
        spots_per_gev: Energy spots per GeV of incident energy.
        spot_shape: Shape of the gamma distribution of one spot's energy.
        response: Mean visible energy over deposited energy.
        halo: The soft component.
        vertex_spread: Spread of the axis at the shower's start, in each direction [mm].
        tilt_spread: Spread of the axis' slope in each direction.
        track_energy: Energy that the primary leaves before it showers [MeV/X0].
        cut: Voxels below are not recorded [MeV].
        block: Showers simulated together.
    """

    medium: Medium
    windows: tuple[tuple[float, float], ...]
    photon: bool
    spots_per_gev: float
    spot_shape: float
    response: float
    halo: Halo
    vertex_spread: float
    tilt_spread: float
    track_energy: float
    cut: float
    block: int

    def simulate(self, generator: np.random.Generator, energies: np.ndarray) -> Cascade:
        """Simulate one shower for each incident energy [MeV], shape (B,)."""
        return electromagnetic_cascade(generator, energies, self)


@dataclass(frozen=True)
class LongitudinalProfile:
    """Gamma profiles in depth, each of shape (B, 1).

    Args:
        maximum: Depth T of the energy's maximum [X0].
        alpha: Shape of the energy's profile.
        beta: Inverse length of the energy's profile [1/X0].
        spot_alpha: Shape of the profile of the number of spots.
        spot_beta: Inverse length of that profile [1/X0].
        tau_scale: tau = depth * tau_scale is the depth in units of the shower's centre of
            gravity, in which the lateral profile is universal.
    """

    maximum: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    spot_alpha: np.ndarray
    spot_beta: np.ndarray
    tau_scale: np.ndarray


def longitudinal_profile(
    generator: np.random.Generator, energy: np.ndarray, medium: Medium
) -> LongitudinalProfile:
    """Draw the correlated fluctuations of T and alpha around their means.

    Args:
        generator: Source of randomness.
        energy: Energy of the shower [GeV], shape (B, 1).
        medium: The sampling medium.
    """
    y = np.log(1e3 * energy / medium.critical_energy)
    z = medium.atomic_number
    coarseness, deficit = medium.inverse_sampling_frequency, medium.response_deficit
    common, opposite = generator.standard_normal((2, *energy.shape))

    def fluctuate(
        log_maximum: np.ndarray,
        log_alpha: np.ndarray,
        sigma_maximum: np.ndarray,
        sigma_alpha: np.ndarray,
        correlation: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        same = np.sqrt((1 + correlation) / 2) * common
        other = np.sqrt((1 - correlation) / 2) * opposite
        return (
            np.exp(log_maximum + sigma_maximum * (same + other)),
            np.exp(log_alpha + sigma_alpha * (same - other)),
        )

    def spread(offset: float, slope: float) -> np.ndarray:
        return 1 / np.maximum(offset + slope * y, 2)

    homogeneous_maximum = np.maximum(y - 0.812, 0.1)
    homogeneous_alpha = np.maximum(0.81 + (0.458 + 2.26 / z) * y, 0.1)
    # Below some hundred MeV the logarithms' arguments would turn negative: hold them at e^0.1.
    mean_maximum = np.maximum(
        homogeneous_maximum - 0.55 * coarseness - 0.69 * deficit, np.exp(0.1)
    )
    mean_alpha = np.maximum(homogeneous_alpha - 0.476 * coarseness, np.exp(0.1))
    maximum, alpha = fluctuate(
        np.log(mean_maximum),
        np.log(mean_alpha),
        spread(-2.5, 1.25),
        spread(-0.82, 0.79),
        0.784 - 0.023 * y,
    )
    spot_maximum, spot_alpha = fluctuate(
        np.log(homogeneous_maximum),
        np.log(homogeneous_alpha),
        spread(-1.4, 1.26),
        spread(-0.58, 0.86),
        0.705 - 0.023 * y,
    )
    maximum, alpha = np.maximum(maximum, 1.0), np.maximum(alpha, 1.1)
    spot_maximum = np.maximum(spot_maximum * (0.813 + 0.0019 * z), 0.5)
    spot_alpha = np.maximum(spot_alpha * (0.844 + 0.0026 * z), 1.1)
    return LongitudinalProfile(
        maximum=maximum,
        alpha=alpha,
        beta=(alpha - 1) / maximum,
        spot_alpha=spot_alpha,
        spot_beta=(spot_alpha - 1) / spot_maximum,
        tau_scale=(alpha - 1) / (alpha * maximum) * mean_alpha / (mean_alpha - 1),
    )


def lateral_profile(
    energy: np.ndarray, tau: np.ndarray, medium: Medium
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radii of the core and of the tail, and the core's weight.

    Args:
        energy: Energy of the shower [GeV], shape (B, 1).
        tau: Depth over the centre of gravity, shape (B, L).
        medium: The sampling medium.

    Returns:
        Core radius [mm], tail radius [mm] and core weight in [0, 1], each of shape (B, L).
    """
    log_energy, z = np.log(energy), medium.atomic_number
    coarseness, deficit = medium.inverse_sampling_frequency, medium.response_deficit
    attenuation = np.exp(-tau)
    core = (
        (0.0251 + 0.00319 * log_energy)
        + (0.1162 - 0.000381 * z) * tau
        - 0.0203 * deficit
        + 0.0397 * coarseness * attenuation
    )
    # The tail's exponential growth is a fit to tau of a few: extrapolated, it would not stop.
    beyond = np.minimum(tau, 6.0) - 0.645
    growth = np.exp(-2.59 * beyond) + np.exp((0.3585 + 0.0412 * log_energy) * beyond)
    tail = (0.659 - 0.00309 * z) * growth - 0.14 * deficit - 0.495 * coarseness * attenuation
    x = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * log_energy)
    weight = (2.632 - 0.00094 * z) * np.exp(x - np.exp(np.minimum(x, 50)))
    weight += deficit * (0.348 - 0.642 * coarseness * np.exp(-((tau - 1) ** 2)))
    core = np.maximum(core, 0.01)
    tail = np.clip(tail, 1.5 * core, 12.0)
    radius = medium.moliere_radius
    return radius * core, radius * tail, np.clip(weight, 0, 1)


def sampled_energy(
    generator: np.random.Generator, energy: np.ndarray, resolution: float
) -> np.ndarray:
    """Gamma-distributed energy with this mean and sigma = resolution * sqrt(mean / GeV) [GeV]."""
    return resolution**2 * generator.standard_gamma(np.maximum(energy / resolution**2, 1e-12))


def electromagnetic_cascade(
    generator: np.random.Generator, energies: np.ndarray, preset: ElectromagneticPreset
) -> Cascade:
    """Simulate one shower of an electron or a photon for each incident energy.

    Args:
        generator: Source of randomness.
        energies: Incident energies [MeV], shape (B,).
        preset: The calorimeter.
    """
    n, medium, halo = len(energies), preset.medium, preset.halo
    windows = np.array(preset.windows)
    energy = energies[:, None] / 1e3
    profile = longitudinal_profile(generator, energy, medium)
    start, beta = np.zeros((n, 1)), profile.beta
    if preset.photon:  # converts after 9/7 X0; the shower of the pair then peaks a little earlier
        start = generator.exponential(9 / 7, (n, 1))
        beta = (profile.alpha - 1) / np.maximum(profile.maximum - 0.3, 0.6)
    shares = gamma_shares(profile.alpha, beta, start, windows)
    spot_shares = gamma_shares(profile.spot_alpha, profile.spot_beta, start, windows)
    halo_shares = gamma_shares(np.full((1, 1), halo.alpha), np.full((1, 1), halo.beta), 0, windows)

    shares = (1 - 0.5 * halo.fraction) * shares + 0.5 * halo.fraction * halo_shares
    spot_shares = (1 - halo.fraction) * spot_shares + halo.fraction * halo_shares
    halo_weight = halo.fraction * halo_shares / np.maximum(spot_shares, 1e-12)
    deposit = sampled_energy(generator, shares * energy, medium.resolution)
    spots = generator.poisson(spot_shares * preset.spots_per_gev * energy)

    depth = depth_in_shower(start, windows)
    core, tail, core_weight = lateral_profile(energy, depth * profile.tau_scale, medium)
    halo_radius = np.full_like(core, halo.radius * medium.moliere_radius)
    other = 1 - halo_weight
    vertex = preset.vertex_spread * generator.standard_normal((n, 1, 2))
    slope = preset.tilt_spread * generator.standard_normal((n, 1, 2))
    return Cascade(
        sources=(
            Source(
                energy=1e3 * preset.response * deposit,
                spots=spots,
                spot_shape=preset.spot_shape,
                radii=np.stack([core, tail, halo_radius]),
                weights=np.stack([other * core_weight, other * (1 - core_weight), halo_weight]),
            ),
        ),
        axis=vertex + slope * depth[..., None] * medium.radiation_length,
        track=_primary_track(generator, n, windows, preset.track_energy),
    )


def _primary_track(
    generator: np.random.Generator, n: int, windows: np.ndarray, energy: float
) -> np.ndarray | None:
    """Energy that the primary leaves until it showers, 1 + Exp(2) X0 deep [MeV], shape (n, L)."""
    if energy == 0:
        return None
    end = 1 + generator.exponential(2, (n, 1))
    length = np.clip(end - windows[:, 0], 0, windows[:, 1] - windows[:, 0])
    return energy * length * generator.lognormal(-0.06, 0.35, length.shape)
