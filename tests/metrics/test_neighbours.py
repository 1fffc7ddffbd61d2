"""Neighbours are those of a float64 search of all pairs, and so is what is built on them."""

import numpy as np
import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.metrics import neighbours, points
from caloman_cli.metrics.neighbours import nearest
from caloman_cli.metrics.points import LogVoxels, Subset, Table
from caloman_cli.metrics.precision_recall import (
    OFFICIAL_EMPTY,
    NeighbourTest,
    corrected_empty,
)


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    differences = (row - y for row in x)
    return np.array([np.sqrt(np.einsum("ij,ij->i", d, d)) for d in differences])


def brute_force(real: np.ndarray, sample: np.ndarray, k: int) -> dict[str, float]:
    """From full matrices; the k-th neighbour is the (k + 1)-th smallest including the point."""
    real_radii = np.sort(distances(real, real), axis=1)[:, k]
    sample_radii = np.sort(distances(sample, sample), axis=1)[:, k]
    between = distances(real, sample)
    inside = between < real_radii[:, None]
    return {
        "precision": inside.any(0).mean(),
        "recall": (between < sample_radii).any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": (between.min(1) < real_radii).mean(),
    }


def voxels(n: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Faint and empty voxels, showers of very different size, some without any energy."""
    rng = np.random.default_rng(seed)
    energy = 10 ** rng.uniform(-2, 3, (n, 1))
    deposits = scale * energy * rng.exponential(size=(n, 40)) * (rng.random((n, 40)) < 0.4)
    deposits[::17] = 0
    return deposits.astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks for samples of a test's size, and chunks of a few rows."""
    build = neighbours.Screen.__init__

    def with_small_blocks(self, *arguments):
        build(self, *arguments)
        self.block = 64

    monkeypatch.setattr(neighbours.Screen, "__init__", with_small_blocks)
    monkeypatch.setattr(neighbours, "CHUNK_BYTES", 20_000)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_neighbours_are_exact(resident, offset, small_blocks, monkeypatch):
    if not resident:
        monkeypatch.setattr(neighbours, "RESIDENT_BYTES", 0)
    x = np.concatenate(
        [normal(300, 6, 0) + offset, 1e-3 * normal(150, 6, 1), normal(20, 6, 2) * 50]
    )
    y = normal(210, 6, 3) * 3
    within = distances(x, x)
    np.fill_diagonal(within, np.inf)
    for found, expected in [
        (nearest(Table(x), 5), within),
        (nearest(Table(x), 5, Table(y)), distances(y, x)),
    ]:
        np.testing.assert_array_equal(found[0], np.sort(expected, 1)[:, :5])
        np.testing.assert_array_equal(found[1], np.argsort(expected, 1)[:, :5])


def test_far_blocks_are_skipped(small_blocks, monkeypatch):
    x = np.concatenate([normal(128, 3, i) + 1e4 * i for i in range(8)])
    seen = []
    lower = neighbours.Screen.lower

    def counted(self, *arguments):
        seen.append(1)
        return lower(self, *arguments)

    monkeypatch.setattr(neighbours.Screen, "lower", counted)
    found = nearest(Table(x), 3)[0]
    assert len(seen) <= 8 * 3
    for i in range(8):
        part = distances(x[128 * i : 128 * (i + 1)], x[128 * i : 128 * (i + 1)])
        np.testing.assert_array_equal(found[128 * i : 128 * (i + 1)], np.sort(part, 1)[:, 1:4])


def test_float32_cannot_tell_these_apart(small_blocks):
    """Distances that differ by 1e-7 of the coordinates: only the search in float64 sees them."""
    x = np.concatenate([1 + 1e-7 * normal(200, 5, 0), normal(20, 5, 1)])
    within = distances(x, x)
    np.fill_diagonal(within, np.inf)
    np.testing.assert_array_equal(nearest(Table(x), 4)[0], np.sort(within, 1)[:, :4])


def test_copies_are_at_distance_zero():
    x = np.repeat(normal(30, 4, 0), 9, axis=0)
    assert (nearest(Table(x), 8)[0] == 0).all()
    assert (nearest(Table(x), 1, Table(x[:5]))[0] == 0).all()


def test_precision_setting_is_ignored_and_left_alone():
    x = normal(200, 30, 0)
    expected = nearest(Table(x), 5)[0]
    torch.set_float32_matmul_precision("medium")
    try:
        np.testing.assert_array_equal(nearest(Table(x), 5)[0], expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("empty", ["official", "corrected"])
@pytest.mark.parametrize("case", ["alike", "scaled", "copies"])
def test_prdc_is_that_of_full_matrices(empty, case, small_blocks):
    cut = 0.0151515
    stand_in = OFFICIAL_EMPTY if empty == "official" else corrected_empty(cut)
    real = voxels(330, 0)
    sample = {"alike": voxels(270, 1), "scaled": voxels(270, 1, 1.5), "copies": real[::2].copy()}
    sides = [LogVoxels(energies, cut, stand_in) for energies in (real, sample[case])]
    found = NeighbourTest(5, batches=0)(*sides)
    full = [side.rows(np.arange(len(side))) for side in sides]
    for name, value in brute_force(*full, 5).items():
        assert found[name] == pytest.approx(value, rel=1e-14), name
        assert found[f"{name}_error"] is None


def test_known_radii_are_not_computed_again(monkeypatch):
    real, sample = normal(300, 3, 0), normal(300, 3, 1)
    metric = NeighbourTest(batches=0)
    expected, radii = metric(real, sample), (metric.radii(real), metric.radii(sample))
    monkeypatch.setattr(NeighbourTest, "radii", None)
    again = metric(real, sample, reference_radii=radii[0], generated_radii=radii[1])
    assert again == expected


def test_official_stand_in_is_above_faint_voxels_and_the_corrected_one_is_not():
    cut = 0.0151515
    faint = np.array([[0.02, 0.0, 0.01]], np.float32)
    official, corrected = (
        LogVoxels(faint, cut, empty).rows(np.array([0]))[0]
        for empty in (OFFICIAL_EMPTY, corrected_empty(cut))
    )
    assert official[1] == official[2] == -1 > official[0]
    assert corrected[1] == corrected[2] < corrected[0]


@pytest.mark.parametrize(("d", "precision"), [(1, 0.995), (3, 0.98), (10, 0.92), (35, 0.77)])
def test_equal_distributions_have_the_known_values(d, precision):
    found = NeighbourTest()(normal(1000, d, 2 * d), normal(1000, d, 2 * d + 1))
    for name in ("precision", "recall"):
        assert found[name] == pytest.approx(precision, abs=0.04), name
        assert found[f"{name}_error"] < 0.03
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=4 * found["coverage_error"])
    assert found["density"] == pytest.approx(1, abs=max(0.05, 4 * found["density_error"]))


def test_a_sample_against_itself_is_perfect():
    x = normal(500, 8, 0)
    found = NeighbourTest(batches=0)(x, x)
    assert found["precision"] == found["recall"] == found["coverage"] == 1


def test_shrunk_and_lost_modes_are_told_apart():
    real = np.concatenate([normal(250, 5, 0), normal(250, 5, 1) + 20])
    lost = NeighbourTest(batches=0)(real, normal(500, 5, 2))
    assert lost["precision"] > 0.9
    assert lost["recall"] < 0.55
    shrunk = NeighbourTest(batches=0)(real[:250], 0.2 * normal(500, 5, 3))
    assert shrunk["density"] > 1.5
    assert shrunk["recall"] < 0.1


def test_parts_of_points():
    table = Table(normal(20, 3, 0))
    part = Subset(table, np.array([3, 7, 11]))
    assert len(part) == 3
    np.testing.assert_array_equal(part.rows(np.array([2, 0])), table.array[[11, 3]])


def test_voxels_of_showers(tiny_geometry, tmp_path):
    energies = np.abs(normal(5, tiny_geometry.n_voxels, 0)).astype(np.float32)
    showers = points.Showers.from_arrays(np.full(5, 1e3), energies, tiny_geometry)
    found = LogVoxels.of(showers, tmp_path, 0.1, 0.05).rows(np.arange(5))
    expected = np.log10(np.where(energies < 0.1, 0.05, energies.astype(np.float64)))
    np.testing.assert_array_equal(found, expected)


def test_mistakes_are_told():
    x = normal(100, 3, 0)
    with pytest.raises(UserError, match="k=0"):
        NeighbourTest(0)
    with pytest.raises(UserError, match="needs 7 showers or more, not 6"):
        NeighbourTest(5)(x, x[:6])
    with pytest.raises(UserError, match="have 3 coordinates, generated ones 2"):
        NeighbourTest(5)(x, x[:, :2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_does_not_change_the_result():
    x, y = normal(3000, 40, 0), normal(2000, 40, 1)
    for queries in (None, Table(y)):
        for found, expected in zip(
            nearest(Table(x), 5, queries, "cuda"), nearest(Table(x), 5, queries), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    assert NeighbourTest(device="cuda")(x, y) == NeighbourTest()(x, y)
