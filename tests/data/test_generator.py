"""The built-in generator: known answers of its parts, physics and reproducibility of the whole."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from caloman_cli.data.generator import PRESETS, draw_energies, generate, iterate_generated
from caloman_cli.data.generator.cascade import (
    Cascade,
    Source,
    depth_in_shower,
    gamma_shares,
)
from caloman_cli.data.generator.medium import LEAD_ARGON, TUNGSTEN_SILICON
from caloman_cli.data.generator.voxelise import voxelise
from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import UserError
from tests.conftest import ROOT, load_geometry

PLANE = Geometry("plane", "electron", (Layer(0, (0.0, 5.0, 10.0, 20.0), 8),), 0.0, 2.0)


def at_energy(name: str, energy: float, n: int) -> tuple[Geometry, np.ndarray]:
    """A geometry and the layer energies [MeV] of n showers of one incident energy [MeV]."""
    geometry = load_geometry(name)
    _, voxels = generate(geometry, n, seed=3, energies=np.full(n, energy))
    starts = [part.start for part in geometry.slices]
    return geometry, np.add.reduceat(voxels.astype(np.float64), starts, axis=1)


def spots_in_a_plane(n: int, spots: float, axis: tuple[float, float] = (0, 0)) -> Cascade:
    """n showers of 100 MeV in one layer around one axis, one lateral component of 5 mm."""
    source = Source(
        energy=np.full((n, 1), 100.0),
        spots=np.full((n, 1), spots),
        spot_shape=0.7,
        radii=np.full((1, n, 1), 5.0),
        weights=np.ones((1, n, 1)),
    )
    return Cascade((source,), np.broadcast_to(np.array(axis, float), (n, 1, 2)), None)


def voxelised(cascade: Cascade, seed: int = 0) -> np.ndarray:
    """(n, alpha, r) of the plane."""
    voxels = voxelise(np.random.default_rng(seed), cascade, PLANE, cut=0.0)
    return voxels.reshape(-1, 8, 3)


# ------------------------------------------------------------------------------------- the parts


@pytest.mark.parametrize(
    ("medium", "radiation_length", "moliere_radius", "critical_energy", "coarseness", "deficit"),
    [
        (LEAD_ARGON, 19.05, 42.4, 9.53, 0.303, 0.309),
        (TUNGSTEN_SILICON, 4.22, 10.9, 8.23, 0.403, 0.296),
    ],
)
def test_media_have_the_published_constants(
    medium, radiation_length, moliere_radius, critical_energy, coarseness, deficit
):
    assert medium.radiation_length == pytest.approx(radiation_length, abs=0.005)
    assert medium.moliere_radius == pytest.approx(moliere_radius, abs=0.05)
    assert medium.critical_energy == pytest.approx(critical_energy, abs=0.005)
    assert medium.inverse_sampling_frequency == pytest.approx(coarseness, abs=0.0005)
    assert medium.response_deficit == pytest.approx(deficit, abs=0.0005)


def test_the_critical_energy_of_tungsten_takes_the_radiation_length_in_g_per_cm2():
    """With mm it would be 3.9 MeV, half of the measured 8 MeV."""
    assert TUNGSTEN_SILICON.passive.critical_energy == pytest.approx(8.0, abs=0.1)


def test_shares_of_an_exponential_profile_are_differences_of_exponentials():
    windows = np.array([[0.5, 1.0], [1.0, 3.0], [4.0, 100.0]])
    alpha, beta, start = np.ones((2, 1)), np.array([[1.0], [0.5]]), np.array([[0.0], [2.0]])
    past = np.maximum(windows - start[..., None], 0)
    expected = np.exp(-beta * past[..., 0]) - np.exp(-beta * past[..., 1])
    np.testing.assert_allclose(gamma_shares(alpha, beta, start, windows), expected, atol=1e-12)


def test_depth_in_a_shower_counts_only_what_lies_behind_its_start():
    windows = np.array([[0.0, 1.0], [1.0, 3.0], [3.0, 5.0]])
    np.testing.assert_allclose(
        depth_in_shower(np.array([[0.0], [2.0]]), windows), [[0.5, 2, 4], [0, 0.5, 2]]
    )


def test_the_energy_in_rings_follows_the_lateral_profile():
    """r^2 / (r^2 + R^2): half within R, 16/17 within 4 R; what lies outside is lost."""
    rings = voxelised(spots_in_a_plane(200, spots=2000)).sum(1)
    np.testing.assert_allclose(rings.sum(1), 100 * 16 / 17, rtol=1e-5)
    np.testing.assert_allclose(rings.mean(0), [50, 30, 100 * (16 / 17 - 0.8)], rtol=0.02)


def test_slices_are_alike_around_a_centred_axis_and_not_around_a_displaced_one():
    centred = voxelised(spots_in_a_plane(200, spots=2000)).sum(2).mean(0)
    np.testing.assert_allclose(centred, centred.mean(), rtol=0.03)
    displaced = voxelised(spots_in_a_plane(200, spots=2000, axis=(3.0, 0.0))).sum(2).mean(0)
    # Slices count from alpha = -pi, so 3 and 4 touch the positive first axis.
    assert set(np.argsort(displaced)[-2:]) == {3, 4}
    np.testing.assert_allclose(displaced, displaced[::-1], rtol=0.05)


def test_a_voxel_is_empty_with_the_poisson_probability():
    empty = (voxelised(spots_in_a_plane(4000, spots=10)) == 0).mean((0, 1))
    share = np.array([0.5, 0.3, 16 / 17 - 0.8]) / 8
    np.testing.assert_allclose(empty, np.exp(-10 * share), atol=0.01)


def test_voxels_are_distributed_as_those_of_the_slow_twin():
    """One Poisson number per voxel, one gamma variate per spot, then the layer's energy."""
    generator, n = np.random.default_rng(5), 1500
    share = np.array([0.5, 0.3, 16 / 17 - 0.8]) / 8
    slow = np.zeros((n, 8, 3))
    for row in slow:
        for voxel, count in np.ndenumerate(generator.poisson(40 * np.tile(share, (8, 1)))):
            row[voxel] = generator.standard_gamma(0.7, count).sum()
        row *= 100 * 16 / 17 / row.sum()
    fast = voxelised(spots_in_a_plane(n, spots=40), seed=6)
    for ring in range(3):
        assert ks_2samp(slow[:, 0, ring], fast[:, 0, ring]).pvalue > 1e-3
    np.testing.assert_allclose(fast.std((0, 1)), slow.std((0, 1)), rtol=0.1)


def test_a_layer_without_spots_is_empty():
    assert not voxelised(spots_in_a_plane(5, spots=0)).any()


def test_a_track_stays_in_the_voxel_on_the_axis():
    axis = np.array([[[0.0, 7.0]], [[-30.0, 0.1]]])  # second ring, upwards; beyond the last ring
    voxels = voxelised(Cascade((), axis, track=np.array([[3.0], [4.0]])))
    assert voxels[0, 6, 1] == 3
    assert voxels[1, 7, 2] == 4
    assert voxels.sum() == 7


# ------------------------------------------------------------------------------ the whole: form


def test_showers_have_the_geometrys_form_and_exact_zeros(geometry):
    energies, voxels = generate(geometry, 40, seed=1)
    assert energies.shape == (40, 1)
    assert energies.dtype == np.float64
    assert voxels.shape == (40, geometry.n_voxels)
    assert voxels.dtype == np.float32
    assert np.isfinite(voxels).all()
    assert voxels.min() == 0
    assert voxels[voxels > 0].min() >= PRESETS[geometry.name].cut * (1 - 1e-6)
    assert (voxels.sum(1) < geometry.max_response * energies[:, 0]).all()


def test_the_first_showers_are_the_same_in_a_larger_sample(geometry):
    """Also where the smaller sample ends within a block."""
    block = PRESETS[geometry.name].block
    small, large = generate(geometry, block + 3, 7), generate(geometry, block + 20, 7)
    np.testing.assert_array_equal(small[0], large[0][: block + 3])
    np.testing.assert_array_equal(small[1], large[1][: block + 3])


def test_blocks_are_bounded_and_join_to_the_whole():
    geometry = load_geometry("ds3")
    blocks = list(iterate_generated(geometry, 70, 2))
    assert [len(energies) for energies, _ in blocks] == [32, 32, 6]
    energies, voxels = generate(geometry, 70, 2)
    np.testing.assert_array_equal(np.concatenate([block[0] for block in blocks]), energies)
    np.testing.assert_array_equal(np.concatenate([block[1] for block in blocks]), voxels)


def test_seeds_give_other_showers_and_repeat_their_own():
    geometry = load_geometry("ds1_photons")
    (energies, voxels), again, other = (generate(geometry, 50, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(voxels, again[1])
    assert (energies != other[0]).any()
    assert not (voxels == other[1]).all(1).any()


def test_given_energies_are_kept_in_order_and_used():
    geometry = load_geometry("ds1_photons")
    asked = np.tile([1e3, 1e5, 1e4], 200)
    energies, voxels = generate(geometry, 600, 0, asked)
    np.testing.assert_array_equal(energies[:, 0], asked)
    ratio = voxels.sum(1) / asked
    assert ratio.min() > 0.3
    assert ratio.max() < 1.6
    np.testing.assert_array_equal(generate(geometry, 600, 0, asked[:, None])[1], voxels)


def test_giving_the_drawn_energies_changes_nothing():
    geometry = load_geometry("ds1_pions")
    energies, voxels = generate(geometry, 30, 8)
    np.testing.assert_array_equal(generate(geometry, 30, 8, energies)[1], voxels)


def test_discrete_energies_have_the_geometrys_weights():
    geometry = load_geometry("ds1_photons")
    drawn = draw_energies(np.random.default_rng(0), geometry, 20000)
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, geometry.incident_energies)
    share = np.array(geometry.incident_weights) / sum(geometry.incident_weights)
    np.testing.assert_allclose(counts / 20000, share, atol=0.006)


def test_a_range_of_energies_is_log_uniform():
    geometry = load_geometry("ds2")
    drawn = np.log10(draw_energies(np.random.default_rng(0), geometry, 20000))
    assert drawn.min() >= 3
    assert drawn.max() <= 6
    np.testing.assert_allclose(np.histogram(drawn, 6, (3, 6))[0] / 20000, 1 / 6, atol=0.012)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=1 or more"),
        ({"seed": -1}, "seed=0 or more"),
        ({"energies": np.ones(3)}, r"shape \(3,\)"),
        ({"energies": np.array([1e3, 0.0])}, "0.0 in row 1"),
        ({"energies": np.array([np.nan, 1e3])}, "nan in row 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_simulated(arguments, message):
    with pytest.raises(UserError, match=message):
        iterate_generated(load_geometry("ds1_photons"), **({"n": 2, "seed": 0} | arguments))


def test_an_unknown_detector_is_told_which_ones_exist(tiny_geometry):
    with pytest.raises(UserError, match="tiny.*ds1_photons, ds1_pions, ds2, ds3"):
        generate(tiny_geometry, 2, 0)
    with pytest.raises(UserError, match="5 layers, this geometry has 3"):
        generate(replace(tiny_geometry, name="ds1_photons"), 2, 0)


# --------------------------------------------------------------------------- the whole: physics


@pytest.mark.parametrize(
    ("name", "energy", "response"),
    [("ds1_photons", 65536, 0.975), ("ds2", 50e3, 0.77), ("ds3", 50e3, 0.77)],
)
def test_the_visible_energy_is_on_scale_and_linear(name, energy, response):
    """Within 2 % of the calibrated response, equal within 3 % at a fourth of the energy."""
    high, low = (at_energy(name, e, 300)[1].sum(1).mean() / e for e in (energy, energy / 4))
    assert high == pytest.approx(response, rel=0.02)
    assert low == pytest.approx(high, rel=0.03)


def test_the_resolution_improves_with_the_root_of_the_energy():
    """c = 24 %: sigma(E) / E = c / sqrt(E / GeV), apart from leakage and the primary's track."""
    for energy in (4.0, 64.0):
        total = at_energy("ds2", 1e3 * energy, 500)[1].sum(1)
        assert total.std() / total.mean() == pytest.approx(0.24 / np.sqrt(energy), rel=0.25)


def test_the_maximum_moves_inwards_logarithmically():
    """One X0 for each factor e in energy, as in the cascade theory."""
    layers = np.stack([at_energy("ds2", e, 300)[1].mean(0) for e in (1e4, 1e5, 1e6)])
    depth = (np.arange(45) + 0.5) * 3.4 / TUNGSTEN_SILICON.radiation_length
    maxima = []
    for profile in layers:
        top = np.argmax(profile) + np.arange(-3, 4)
        a, b, _ = np.polyfit(depth[top], profile[top], 2)
        maxima.append(-b / (2 * a))
    np.testing.assert_allclose(np.diff(maxima), np.log(10), atol=0.35)


def test_photons_shower_in_the_middle_layer_and_leave_the_tile_nearly_empty():
    _, layers = at_energy("ds1_photons", 65536, 500)
    share = (layers / layers.sum(1, keepdims=True)).mean(0)
    assert share.argmax() == 2
    assert share[4] < 0.01
    assert (at_energy("ds1_photons", 256, 500)[1][:, 4] == 0).mean() > 0.5


def test_a_pion_that_has_not_interacted_leaves_a_track():
    """exp(-1.47 / 1.15) = 28 % cross the electromagnetic layers and ionise only."""
    _, layers = at_energy("ds1_pions", 262144, 1000)
    track = sum(PRESETS["ds1_pions"].track_energies[:4])
    crossing = np.abs(layers[:, :4].sum(1) / track - 1) < 0.5
    assert crossing.mean() == pytest.approx(np.exp(-1.47 / 1.15), abs=0.05)
    assert (layers[crossing, 4:].sum(1) > 10 * track).mean() > 0.9


def test_pions_of_low_energy_leave_layers_empty_and_those_of_high_energy_do_not():
    low, high = (at_energy("ds1_pions", e, 400)[1] == 0 for e in (256, 1048576))
    assert low[:, 6].mean() > 0.9
    assert low[:, 3].mean() > 0.5
    assert high[:, 4:].mean() < 0.05


@pytest.mark.parametrize("name", ["ds1_photons", "ds1_pions", "ds2"])
def test_no_direction_around_the_axis_is_special(name):
    geometry = load_geometry(name)
    _, voxels = generate(geometry, 800, seed=9, energies=np.full(800, 65536.0))
    layer = 2 if name != "ds2" else 10
    shape = (-1, geometry.layers[layer].n_alpha, geometry.layers[layer].n_r)
    slices = voxels[:, geometry.slices[layer]].reshape(shape).sum(2)
    error = slices.std(0) / np.sqrt(len(slices))
    assert (np.abs(slices.mean(0) - slices.mean()) < 5 * error).all()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "showers", "tolerance"), [("ds1_photons", 3000, 1.1), ("ds2", 500, 0.65)]
)
def test_moments_stay_near_those_of_the_official_data(shared, name, showers, tolerance):
    """Between voxels the published means spread by about 2."""
    script = [
        sys.executable,
        str(ROOT / "scripts/benchmarks/compare_moments.py"),
        "--geometry",
        name,
    ]
    script += ["--moments", str(shared / "data/moments"), "--showers", str(showers)]
    table = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    row = next(line for line in table.splitlines() if "E_voxel / E_layer: rms dev" in line)
    deviation = float(row.split("|")[3].split("/")[0])
    assert deviation < tolerance
