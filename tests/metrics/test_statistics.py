"""Statistics of real showers are found again by content, and never for other content."""

import hashlib
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation import statistics
from caloman_cli.evaluation.statistics import FeatureSource, StatisticsStore
from caloman_cli.metrics import histograms
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.histograms import Histogram, voxel_edges
from caloman_cli.metrics.separation import separation_error


def write(path, n_voxels, seed):
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file["incident_energies"] = rng.uniform(1e3, 1e4, (50, 1))
        file["showers"] = (rng.random((50, n_voxels)) * 100).astype(np.float32)
    return path


@pytest.fixture
def passes(monkeypatch):
    """Counts how often features are computed."""
    counted = []

    def count(*arguments):
        counted.append(arguments[0].name)
        return high_level_features(*arguments)

    monkeypatch.setattr(statistics, "high_level_features", count)
    return counted


def test_features_are_kept_by_content(tiny_geometry, tmp_path, passes):
    path = write(tmp_path / "a.hdf5", tiny_geometry.n_voxels, 0)
    first = Showers.from_files([path], tiny_geometry)
    made = FeatureSource(tmp_path / "cache").of(first, keep=True)
    moved = path.rename(tmp_path / "elsewhere.hdf5")
    again = FeatureSource(tmp_path / "cache").of(
        Showers.from_files([moved], tiny_geometry), keep=True
    )
    assert len(passes) == 1
    assert list(again.values) == list(made.values)
    for name, values in made.values.items():
        np.testing.assert_array_equal(again[name], values)
    np.testing.assert_array_equal(again.voxel_groups, made.voxel_groups)
    assert again.max_voxel == made.max_voxel
    np.testing.assert_array_equal(again.voxel_edges, voxel_edges(made))
    assert made.voxel_groups.sum() == 50 * tiny_geometry.n_voxels


def test_other_content_under_the_same_name_cut_or_version_is_computed(
    tiny_geometry, tmp_path, passes, monkeypatch
):
    path = write(tmp_path / "a.hdf5", tiny_geometry.n_voxels, 0)

    def ask(threshold=None):
        showers = Showers.from_files([path], tiny_geometry)
        return FeatureSource(tmp_path / "cache").of(showers, threshold, keep=True)

    ask()
    write(path, tiny_geometry.n_voxels, 1)
    ask()
    ask(50.0)
    assert len(passes) == 3
    monkeypatch.setattr(statistics, "FEATURES", statistics.FEATURES + 1)
    ask()
    assert len(passes) == 4
    ask()
    assert len(passes) == 4


def test_files_of_older_versions_and_the_least_recently_used_are_removed(tiny_geometry, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    showers = Showers.from_files([write(tmp_path / "a.hdf5", 12, 0)], tiny_geometry)

    def ask(n, version=2, kind="features", largest=10**9):
        store = StatisticsStore(kept, largest)
        arrays = {"x": np.full(1000, float(n))}
        return store.get(kind, version, showers, {"n": n}, lambda: arrays)["x"][0]

    def names():
        return sorted(path.name.rpartition("-")[0] for path in kept.iterdir())

    (kept / f"features-{32 * 'a'}.npz").write_bytes(b"of before there were versions")
    ask(1, version=3)
    ask(1, kind="radii")
    ask(1)
    assert names() == ["features-v2", "features-v3", "radii-v2"]
    ask(2, version=3)
    assert names() == ["features-v3", "features-v3", "radii-v2"]
    for age, path in enumerate(sorted(kept.iterdir())):
        os.utime(path, (age, age))
    oldest = min(kept.iterdir(), key=lambda path: path.stat().st_mtime)
    ask(1, version=3)  # is used, whichever is older
    ask(2, version=3)
    assert ask(3, version=3, largest=20_000) == 3.0  # room for two of 8 kB, and the new one
    assert not list(kept.glob("radii*"))
    assert oldest.exists()
    ask(4, version=3, largest=0)
    assert len(names()) == 1  # the one that was asked for stays


def test_the_version_of_features_is_raised_where_their_numbers_change(tiny_geometry):
    """If this fails and the new numbers are right, raise FEATURES and write its digest here."""
    showers = Showers.from_arrays(
        np.linspace(1e3, 2e3, 60)[:, None],
        (np.arange(60 * 12).reshape(60, 12) % 37).astype(np.float32) ** 2,
        tiny_geometry,
    )
    found = FeatureSource(Path("unused")).of(showers, keep=False)
    numbers = np.concatenate([found[name] for name in found.values])
    told = [f"{round(value, 4) + 0.0:.4f}" for value in [*numbers, *found.voxel_edges]]
    told += [str(count) for count in found.voxel_groups.ravel()]
    digest = hashlib.sha256(" ".join(told).encode()).hexdigest()[:12]
    assert (statistics.FEATURES, digest) == (2, "14233e9c2a11")


def test_a_damaged_file_is_made_anew_and_generated_showers_are_not_kept(
    tiny_geometry, tmp_path, passes, caplog
):
    showers = Showers.from_files(
        [write(tmp_path / "a.hdf5", tiny_geometry.n_voxels, 0)], tiny_geometry
    )
    source = FeatureSource(tmp_path / "cache")
    source.of(showers, keep=False)
    source.of(showers, keep=False)
    assert len(passes) == 1
    assert not (tmp_path / "cache").exists()
    FeatureSource(tmp_path / "cache").of(showers, keep=True)
    (kept,) = (tmp_path / "cache/statistics").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    FeatureSource(tmp_path / "cache").of(showers, keep=True)
    assert len(passes) == 3
    assert "damaged" in caplog.text


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_error_of_a_separation_power_is_its_spread(shift):
    """Against the spread over 400 pairs of samples, alike and not."""
    rng, edges = np.random.default_rng(0), np.linspace(-4, 4, 21)

    def sample(centre, n):
        return histograms.voxel_histogram(rng.normal(centre, 1, n), edges)

    drawn = [Histogram("E_ratio", edges, sample(0, 2000), sample(shift, 3000)) for _ in range(400)]
    spread = np.std([histogram.separation for histogram in drawn])
    error = np.mean([separation_error(histogram) for histogram in drawn])
    assert error == pytest.approx(spread, rel=0.15)
