"""A sample on the disk is scored again only where this version would draw the same one."""

import shutil
from functools import partial

import h5py
import numpy as np
import pytest

from caloman_cli.config.compose import compose
from caloman_cli.evaluation.inputs import evaluated_dataset, open_comparison
from caloman_cli.models.two_step import SAMPLING


def showers_of(run, seed=1):
    """What an evaluation of a run scores."""
    cfg = compose("evaluate", [f"run={run}", f"seed={seed}", f"cache_dir={run.parent}/cache"])
    return open_comparison(cfg, evaluated_dataset(cfg)).generated


@pytest.fixture(scope="module")
def sampled(run_dir, tmp_path_factory):
    """A run with the sample of an evaluation, and the sum of its voxels."""
    own = tmp_path_factory.mktemp("sampled") / "run"
    shutil.copytree(run_dir, own, ignore=shutil.ignore_patterns("samples", "evaluation"))
    return own, sum_of(showers_of(own))


@pytest.fixture
def generated(sampled, tmp_path):
    """Open what an evaluation of a run with one sample scores; that sample's path and sum."""
    run, total = sampled
    shutil.copytree(run, tmp_path / "run")
    (path,) = (tmp_path / "run/samples").glob("*.hdf5")
    return partial(showers_of, tmp_path / "run"), path, total


def sum_of(showers):
    return sum(float(block.sum(dtype=np.float64)) for _, block in showers.iterate())


def halve(path, **changed):
    """Give a sample half of its energy, so that it is told, and other attributes."""
    with h5py.File(path, "r+") as file:
        file["showers"][:] = 0.5 * file["showers"][:]
        for name, value in changed.items():
            if value is None:
                del file.attrs[name]
            else:
                file.attrs[name] = value


def test_the_same_sample_is_used_again(generated):
    opened, path, total = generated
    halve(path)
    assert sum_of(opened()) == pytest.approx(total / 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 2},
        {"model_sha256": 64 * "0"},
        {"sampling_version": SAMPLING - 1},
        {"sampling_version": SAMPLING + 1},
        {"sampling_version": None},
    ],
    ids=str,
)
def test_a_sample_of_something_else_is_drawn_anew(generated, changed):
    opened, path, total = generated
    halve(path, **changed)
    assert sum_of(opened()) == total


def test_a_sample_of_other_energies_is_drawn_anew(generated):
    opened, path, total = generated
    halve(path)
    with h5py.File(path, "r+") as file:
        file["incident_energies"][0] *= 1.001
    assert sum_of(opened()) == total


def test_another_seed_gets_a_sample_of_its_own(generated):
    opened, path, total = generated
    assert sum_of(opened(seed=2)) != total
    assert len(list(path.parent.glob("*.hdf5"))) == 2
    assert sum_of(opened()) == total


def test_a_model_that_was_trained_again_gets_a_new_sample(generated):
    opened, path, total = generated
    halve(path)
    model = path.parents[1] / "model.pt"
    model.write_bytes(model.read_bytes() + b"\0")  # still loads, and is another file
    assert sum_of(opened()) == total
