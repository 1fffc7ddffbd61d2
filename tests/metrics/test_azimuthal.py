"""Features around the axis: known for showers made by hand, blind to the shower's direction."""

import numpy as np
import pytest

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.azimuthal import KINDS, azimuthal_features, feature_names
from scripts.studies.distortions import rotate

N_ALPHA, N_R = 8, 3


def detector(*layers: dict) -> Geometry:
    """A detector of these layers, each with ids from 1 on."""
    return Geometry.from_dict(
        {
            "name": "rings",
            "particle": "electron",
            "threshold": 0.0,
            "max_response": 2.0,
            "layers": [{"id": number, **layer} for number, layer in enumerate(layers, 1)],
        }
    )


RINGS = {"r_edges": [0, 4, 8, 12], "n_alpha": N_ALPHA}
THREE = detector(RINGS, RINGS, RINGS)
MIXED = detector(  # none, two, three and four slices, slices in common, one ring
    {"r_edges": [0, 5], "n_alpha": 1},
    {"r_edges": [0, 5, 9], "n_alpha": 2},
    {"r_edges": [0, 5, 9], "n_alpha": 3},
    {"r_edges": [0, 5, 9], "n_alpha": 4},
    {"r_edges": [0, 5, 9], "n_alpha": 12},
    {"r_edges": [0, 9], "n_alpha": 12},
)

QUARTERS = detector(*({"r_edges": [0, 5, 9], "n_alpha": n} for n in (1, 4, 12, 8)))


def features(geometry: Geometry, *showers: dict[tuple[int, int, int], float]) -> dict:
    """Of showers given as (layer's position, slice, ring) -> MeV; each feature's values."""
    voxels = np.zeros((len(showers), geometry.n_voxels), np.float32)
    for row, shower in enumerate(showers):
        for (layer, alpha, ring), energy in shower.items():
            n_r = geometry.layers[layer].n_r
            voxels[row, geometry.slices[layer].start + alpha * n_r + ring] = energy
    found = azimuthal_features(Showers.from_arrays(np.full(len(voxels), 50.0), voxels, geometry))
    assert found.values.dtype == np.float32
    return {name: found[name] for name in found.names}


def random_showers(geometry: Geometry, n: int, seed: int) -> Showers:
    rng = np.random.default_rng(seed)
    voxels = rng.exponential(2.0, (n, geometry.n_voxels)) * (
        rng.random((n, geometry.n_voxels)) < 0.4
    )
    return Showers.from_arrays(np.full(n, 100.0), voxels.astype(np.float32), geometry)


def test_one_lit_slice_has_moments_of_length_one_and_no_neighbours():
    found = features(THREE, {(0, 2, 1): 3.0})
    for name in ("dipole/1", "quadrupole/1", "outer_dipole/1"):
        assert found[name][0] == pytest.approx(1), name
    assert found["offset/1"][0] == pytest.approx(6.0)  # the middle of the second ring [mm]
    assert found["lit_slices/1"][0] == pytest.approx(1 / N_ALPHA)
    dark = ("product_1/1", "lit_1/1", "lit_outward/1", "inner_dipole/1", "inner_outer/1")
    assert [found[name][0] for name in dark] == [0] * len(dark)


def test_an_even_ring_has_no_direction():
    found = features(THREE, {(0, k, r): 1.0 for k in range(N_ALPHA) for r in range(N_R)})
    for name in ("dipole/1", "quadrupole/1", "offset/1", "inner_dipole/1", "inner_outer/1"):
        assert found[name][0] == pytest.approx(0, abs=1e-6), name
    for name in ("product_1/1", "product_2/1"):
        assert found[name][0] == pytest.approx(1 / N_ALPHA), name
    for name in ("lit_1/1", "lit_2/1", "lit_slices/1"):
        assert found[name][0] == 1, name


def test_opposite_slices_have_a_quadrupole_and_no_dipole():
    found = features(THREE, {(0, 1, 0): 2.0, (0, 1 + N_ALPHA // 2, 0): 2.0})
    assert found["dipole/1"][0] == pytest.approx(0, abs=1e-6)
    assert found["quadrupole/1"][0] == pytest.approx(1)
    five = detector({"r_edges": [0, 4], "n_alpha": 10})
    found = features(five, {(0, 1, 0): 1.0, (0, 6, 0): 1.0})
    assert (found["product_5/1"][0], found["lit_5/1"][0]) == (0.5, 1)  # each is the other's
    assert (found["product_1/1"][0], found["lit_1/1"][0]) == (0, 0)


def test_shares_of_neighbours_and_halves():
    found = features(THREE, {(0, 0, 0): 3.0, (0, 1, 2): 1.0})
    assert found["product_1/1"][0] == pytest.approx(3 / 16)
    assert found["lit_1/1"][0] == 0  # neighbouring slices, but not in one ring
    assert found["inner_dipole/1"][0] == found["outer_dipole/1"][0] == pytest.approx(1)
    assert found["inner_outer/1"][0] == pytest.approx(np.cos(2 * np.pi / N_ALPHA))
    around = features(THREE, {(0, N_ALPHA - 1, 0): 1.0, (0, 0, 0): 1.0, (0, 0, 1): 1.0})
    assert around["lit_1/1"][0] == pytest.approx(1 / 3)  # across the seam of alpha
    assert around["lit_outward/1"][0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("turn", [0, 1, 2, 4, -2])
def test_layers_know_by_which_angle_they_are_turned(turn):
    angle = 2 * np.pi * turn / N_ALPHA
    found = features(THREE, {(0, 5, 0): 4.0, (1, (5 + turn) % N_ALPHA, 0): 1.0})
    assert found["alignment/2"][0] == pytest.approx(np.cos(angle), abs=1e-6)
    assert found["twist/2"][0] == pytest.approx(np.sin(angle), abs=1e-6)
    assert found["quadrupole_alignment/2"][0] == pytest.approx(np.cos(2 * angle), abs=1e-6)
    assert found["shift/2"][0] == pytest.approx(abs(2 * (np.exp(1j * angle) - 1)), abs=1e-5)
    assert found["overlap/2"][0] == pytest.approx(N_ALPHA * (turn == 0), abs=1e-6)
    assert found["lit_behind/2"][0] == (turn == 0)
    assert found["alignment/3"][0] == found["shift/3"][0] == 0  # the last layer is dark


def test_a_layer_is_compared_with_the_others_by_their_energy():
    found = features(THREE, {(0, 1, 0): 9.0, (1, 1, 0): 1.0, (2, 5, 0): 2.0})
    others = [found[f"shower_alignment/{i}"][0] for i in (1, 2, 3)]
    assert others == pytest.approx([-1, 1, -1])  # 1 - 2, 9 - 2 and 9 + 1 of the others
    alone = features(THREE, {(0, 1, 0): 9.0})
    assert alone["shower_alignment/1"][0] == 0


def test_the_line_through_the_centres():
    """Rings 0, 1, 2 of one slice are at 2, 6 and 10 mm: 4 mm a layer, and nothing beside it."""
    found = features(
        THREE,
        {(0, 3, 0): 1.0, (1, 3, 1): 1.0, (2, 3, 2): 1.0},
        {(0, 3, 2): 1.0, (1, 3, 1): 1.0, (2, 3, 0): 1.0},
        {(0, 3, 1): 1.0, (2, 3, 1): 1.0},
        {(1, 3, 1): 1.0},
    )
    assert found["axis_tilt"] == pytest.approx([4, 4, 0, 0], abs=1e-5)
    assert found["axis_offset"] == pytest.approx([6, 6, 6, 6])
    assert found["axis_scatter"] == pytest.approx([0, 0, 0, 0], abs=1e-5)
    assert found["axis_opening"][:2] == pytest.approx([1, -1])
    bent = features(THREE, {(0, 3, 0): 1.0, (1, 3, 1): 1.0, (2, 3, 0): 1.0})
    assert bent["axis_tilt"][0] == pytest.approx(0, abs=1e-6)
    assert bent["axis_scatter"][0] == pytest.approx(np.std([2, 6, 2]))


@pytest.mark.parametrize(("geometry", "steps"), [(THREE, N_ALPHA), (QUARTERS, 4)])
def test_a_turned_or_mirrored_shower_has_the_same_features(geometry, steps):
    showers = random_showers(geometry, 100, 1)
    before = azimuthal_features(showers)
    for step in (1, 3):
        turned = showers
        for layer in geometry.layers:  # all by one angle
            turned = rotate(turned, step * layer.n_alpha // steps, [layer.id])
        after = azimuthal_features(turned).values
        np.testing.assert_allclose(after, before.values, atol=2e-6)
    energies, voxels = showers.read(0, 100)
    voxels = voxels.copy()
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        voxels[:, part] = voxels[:, part].reshape(100, layer.n_alpha, -1)[:, ::-1].reshape(100, -1)
    mirrored = azimuthal_features(Showers.from_arrays(energies, voxels, geometry))
    for name in before.names:
        sign = -1 if name.startswith("twist") else 1
        np.testing.assert_allclose(mirrored[name], sign * before[name], atol=2e-6)


def test_one_layer_turned_alone_changes_across_layers_only():
    showers = random_showers(THREE, 50, 2)
    before, after = azimuthal_features(showers), azimuthal_features(rotate(showers, 1, [2]))
    changed = {
        KINDS[name.split("/")[0]].group
        for name in before.names
        if not np.allclose(before[name], after[name], atol=1e-5)
    }
    assert changed == {"across_layers"}


def test_the_readout_cut_and_chunks_change_nothing_else(monkeypatch):
    showers = random_showers(THREE, 20, 3)
    energies, voxels = showers.read(0, 20)
    cut = Showers.from_arrays(energies, np.where(voxels < 1, 0, voxels), THREE)
    whole = azimuthal_features(showers, 1.0).values
    np.testing.assert_array_equal(whole, azimuthal_features(cut).values)
    monkeypatch.setattr("caloman_cli.metrics.azimuthal.chunk_rows", lambda _: 7)
    np.testing.assert_array_equal(whole, azimuthal_features(showers, 1.0).values)


def test_dark_layers_and_showers_are_zero_everywhere():
    for geometry in (THREE, MIXED):
        found = azimuthal_features(
            Showers.from_arrays(np.ones(3), np.zeros((3, geometry.n_voxels), np.float32), geometry)
        )
        assert not found.values.any()
    one = features(MIXED, {(4, 3, 0): 1e-6})
    assert all(np.isfinite(values).all() for values in one.values())


def test_layers_give_what_their_slices_allow():
    names = feature_names(MIXED)
    assert [name for name in names if name.startswith("dipole")] == [
        f"dipole/{i}" for i in (3, 4, 5, 6)
    ]
    assert "quadrupole/3" not in names  # of three slices it says what the dipole says
    assert [name for name in names if name.startswith("product_2")] == [
        "product_2/4",
        "product_2/5",
        "product_2/6",
    ]
    assert [name for name in names if name.startswith("overlap")] == [
        "overlap/4",
        "overlap/5",
        "overlap/6",
    ]
    assert "inner_dipole/6" not in names  # one ring
    assert all(name.split("/")[0] in KINDS for name in names)


def test_layers_of_different_meshes_are_laid_over_each_other():
    """Slices of 90 and 120 degrees, rings to 4 and 10 mm and to 6 and 10 mm."""
    other = detector({"r_edges": [0, 4, 10], "n_alpha": 4}, {"r_edges": [0, 6, 10], "n_alpha": 3})
    found = features(
        other,
        {(0, 0, 0): 2.0, (1, 0, 0): 1.0},
        {(0, 1, 0): 2.0, (1, 0, 0): 1.0},  # of 90 degrees 30 are behind the first slice
        {(0, 3, 0): 2.0, (1, 0, 0): 1.0},
        {(0, 0, 0): 2.0, (1, 0, 1): 1.0},  # the outer ring begins beyond
        {(0, 0, 1): 2.0, (1, 0, 0): 1.0, (1, 2, 0): 1.0},
        {(1, 0, 0): 1.0},
    )
    assert found["overlap/2"] == pytest.approx([3, 1, 0, 3, 1.5, 0], abs=1e-6)
    assert found["lit_behind/2"] == pytest.approx([1, 1, 0, 0, 0.5, 0])
    even = features(other, {**{(0, k, 0): 1.0 for k in range(4)}, (1, 0, 0): 1.0})
    assert even["overlap/2"][0] == pytest.approx(1)


def test_a_detector_without_slices_has_what_layers_share():
    plain = detector({"r_edges": [0, 5, 9], "n_alpha": 1}, {"r_edges": [0, 5, 9], "n_alpha": 1})
    assert features(plain, {(0, 0, 0): 1.0, (1, 0, 0): 2.0, (1, 0, 1): 1.0}) == {
        "lit_behind/2": pytest.approx([0.5])
    }
    single = detector({"r_edges": [0, 5], "n_alpha": 1}, {"r_edges": [0, 5, 9], "n_alpha": 2})
    assert features(single, {(0, 0, 0): 1.0}) == {}


def test_every_geometry_has_features_with_names_of_their_own(geometry):
    names = feature_names(geometry)
    assert len(set(names)) == len(names)
    groups = {KINDS[name.split("/")[0]].group for name in names}
    assert groups == {"around_axis", "across_layers"}
