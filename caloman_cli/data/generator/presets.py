"""Depths, materials and calibration of the four detectors that the generator imitates.

The rings and slices of their layers are facts of :mod:`caloman_cli.data.geometry`; what stands
here is what a binning does not say. The calibration constants were picked by hand so that
the moments of logit voxels come near those published for the official data (docs/generator.md).
"""

from dataclasses import replace

from caloman_cli.data.generator.electromagnetic import ElectromagneticPreset, Halo
from caloman_cli.data.generator.hadronic import HadronicPreset
from caloman_cli.data.generator.medium import LEAD_ARGON, TUNGSTEN_SILICON

Preset = ElectromagneticPreset | HadronicPreset

# Barrel calorimeter: presampler, strips, middle, back, then the tile calorimeter [X0].
_BARREL = ((1.7, 2.1), (2.1, 6.4), (6.4, 23.4), (23.4, 25.6))

_PHOTONS = ElectromagneticPreset(
    medium=LEAD_ARGON,
    windows=(*_BARREL, (26.4, 60.0)),
    photon=True,
    spots_per_gev=300,
    spot_shape=0.7,
    response=1.0,
    halo=Halo(fraction=0.05, alpha=1.0, beta=0.25, radius=1.5),
    vertex_spread=2.5,
    tilt_spread=0.03,
    track_energy=0.0,
    cut=0.01,
    block=512,
)
_PIONS = HadronicPreset(
    medium=LEAD_ARGON,
    windows=(*_BARREL, (26.4, 43.0), (43.0, 88.0), (88.0, 108.0)),
    interaction_windows=(
        (0.20, 0.22),
        (0.22, 0.47),
        (0.47, 1.35),
        (1.35, 1.47),
        (1.62, 3.12),
        (3.12, 7.2),
        (7.2, 9.0),
    ),
    track_energies=(15.0, 80.0, 380.0, 50.0, 320.0, 850.0, 380.0),
    interaction_depth=1.15,
    response=0.65,
    resolution=0.45,
    spots_per_gev=(60.0, 25.0),
    spot_shapes=(1.0, 0.6),
    radius=40.0,
    vertex_spread=1.5,
    tilt_spread=0.02,
    scatter=15.0,
    cut=0.01,
    block=512,
)

# 45 layers, each of two cells of 1.4 mm tungsten and 0.3 mm silicon.
_DEPTH = 2 * TUNGSTEN_SILICON.inverse_sampling_frequency
_ELECTRONS = ElectromagneticPreset(
    medium=TUNGSTEN_SILICON,
    windows=tuple((layer * _DEPTH, (layer + 1) * _DEPTH) for layer in range(45)),
    photon=False,
    spots_per_gev=250,
    spot_shape=0.7,
    response=0.79,
    halo=Halo(fraction=0.06, alpha=1.2, beta=0.08, radius=3.0),
    vertex_spread=1.0,
    tilt_spread=0.03,
    track_energy=9.0,
    cut=0.0005 / 0.033,
    block=128,
)

PRESETS: dict[str, Preset] = {
    "ds1_photons": _PHOTONS,
    "ds1_pions": _PIONS,
    "ds2": _ELECTRONS,
    "ds3": replace(_ELECTRONS, block=32),
}
