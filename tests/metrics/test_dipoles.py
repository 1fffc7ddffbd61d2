"""Dipoles: known for showers made by hand, and what other metrics cannot see."""

import numpy as np
import pytest

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.dipoles import DipoleTest, dipoles, layer_correlation, lean
from scripts.studies.distortions import rotate

N_ALPHA, N_R = 8, 3
GEOMETRY = Geometry.from_dict(
    {
        "name": "rings",
        "particle": "electron",
        "threshold": 0.0,
        "max_response": 2.0,
        "layers": [
            {"id": 0, "r_edges": [0, 5], "n_alpha": 1},  # has no direction
            {"id": 1, "repeat": 3, "r_edges": [0, 5, 10, 15], "n_alpha": N_ALPHA},
        ],
    }
)
ANGLES = 2 * np.pi * (np.arange(N_ALPHA) + 0.5) / N_ALPHA - np.pi


def leaning(n: int, tilt: float, seed: int, alike: bool = True) -> Showers:
    """Showers that lean by ``tilt`` in a direction of their own, all layers alike or none."""
    rng = np.random.default_rng(seed)
    directions = rng.uniform(0, 2 * np.pi, (n, 3, 1, 1))
    directions = directions[:, :1] if alike else directions
    shape = 1 + tilt * np.cos(ANGLES[:, None] - directions)
    image = rng.gamma(20, 1 / 20, (n, 3, N_ALPHA, N_R)) * shape
    voxels = np.concatenate([np.ones((n, 1)), image.reshape(n, -1)], 1)
    return Showers.from_arrays(np.full((n, 1), 100.0), voxels.astype(np.float32), GEOMETRY)


def compare(real: Showers, made: Showers) -> dict[str, float | None]:
    return DipoleTest(20)(GEOMETRY, dipoles(real), dipoles(made))


def test_even_rings_do_not_lean_and_one_lit_slice_is_its_direction():
    even = np.ones((2, GEOMETRY.n_voxels), np.float32)
    found = dipoles(Showers.from_arrays(np.full((2, 1), 100.0), even, GEOMETRY))
    assert found.rings.shape == (2, 9)
    assert np.abs(found.rings).max() < 1e-6
    single = np.zeros_like(even)
    single[:, 1 + 2 * N_R] = 3.0  # innermost ring of slice 2 of the first layer with slices
    found = dipoles(Showers.from_arrays(np.full((2, 1), 100.0), single, GEOMETRY))
    assert found.rings[0, 0] == pytest.approx(np.exp(1j * ANGLES[2]), abs=1e-6)
    assert found.layers[0, 0] == pytest.approx(np.exp(1j * ANGLES[2]), abs=1e-6)
    assert found.lit_rings.sum(1).tolist() == [1, 1]
    assert found.lit_layers.sum(1).tolist() == [1, 1]


def test_what_leans_is_measured():
    """Slices 1 + t cos(alpha - phi) have a dipole of length t / 2."""
    found = dipoles(leaning(2000, 0.6, 1))
    noise = 1 / 20 / (N_ALPHA * N_R)  # of the gamma draws: relative variance over number of voxels
    assert lean(found) == pytest.approx(np.full(3, np.sqrt(0.3**2 + noise)), rel=0.02)
    assert np.abs(layer_correlation(found)) == pytest.approx(np.ones((3, 3)), abs=0.03)
    apart = layer_correlation(dipoles(leaning(2000, 0.6, 1, alike=False)))
    assert np.abs(apart[np.triu_indices(3, 1)]).max() < 0.1


def test_equal_samples_are_at_the_floor():
    found = compare(leaning(1500, 0.5, 1), leaning(1500, 0.5, 2))
    for kind in ("lean", "rings", "layers"):
        assert 0.3 < found[kind] / found[f"{kind}_floor"] < 2, kind


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        (leaning(1000, 0.5, 2), set()),
        (leaning(1000, 0.0, 2), {"lean", "rings", "layers"}),
        (leaning(1000, 0.5, 2, alike=False), {"layers"}),
        (rotate(leaning(1000, 0.5, 2), 1, [2]), {"layers"}),
        (rotate(leaning(1000, 0.5, 2), 1), set()),  # the detector is symmetric about the axis
    ],
    ids=["equal", "isotropic", "layers apart", "a layer turned", "all layers turned"],
)
def test_only_what_is_wrong_is_seen(made, seen):
    found = compare(leaning(1000, 0.5, 1), made)
    far = {k for k in ("lean", "rings", "layers") if found[k] > 4 * found[f"{k}_floor"]}
    assert far == seen


def test_a_layer_turned_by_a_slice_has_that_phase():
    turned = layer_correlation(dipoles(rotate(leaning(1000, 0.8, 3), 1, [2])))
    assert np.degrees(np.angle(turned[1, 0])) == pytest.approx(360 / N_ALPHA, abs=2)


def test_dark_rings_count_for_nothing():
    showers = leaning(400, 0.5, 1)
    energies, voxels = (np.array(side) for side in showers.read(0, len(showers)))
    voxels[::2, GEOMETRY.slices[3]] = 0
    half = Showers.from_arrays(energies, voxels, GEOMETRY)
    assert lean(dipoles(half))[2] == pytest.approx(
        lean(dipoles(showers.subset(np.arange(1, 400, 2))))[2]
    )
    voxels[:, GEOMETRY.slices[3]] = 0
    dark = dipoles(Showers.from_arrays(energies, voxels, GEOMETRY))
    found = DipoleTest(5)(GEOMETRY, dark, dark)
    assert found["lean"] == found["layers"] == 0.0


def test_what_cannot_lean_is_refused(tiny_geometry):
    few = leaning(50, 0.5, 1)
    with pytest.raises(UserError, match="50 showers: dipoles are compared from 100 or more"):
        compare(few, few)
    whole = Geometry.from_dict({**GEOMETRY.to_dict(), "layers": GEOMETRY.to_dict()["layers"][:1]})
    one = Showers.from_arrays(np.ones((2, 1)), np.ones((2, 1), np.float32), whole)
    with pytest.raises(UserError, match="no layer of rings has three slices or more"):
        dipoles(one)


def test_its_error_is_the_spread_of_other_samples():
    real = dipoles(leaning(300, 0.5, 0))
    values, errors = [], []
    for seed in range(1, 25):
        made = dipoles(leaning(300, 0.2, seed))
        found = DipoleTest(20)(GEOMETRY, real, made)
        values.append(found["lean"])
        errors.append(found["lean_error"])
    # The reference is the same each time, which the error counts as well.
    assert np.std(values, ddof=1) < np.mean(errors) < 3 * np.std(values, ddof=1)
