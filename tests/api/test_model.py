"""A model in somebody else's program: kinds in, the same kinds out, mistakes in one line."""

import numpy as np
import pytest
import torch

import caloman_cli
from caloman_cli import Showers, UserError
from caloman_cli.models.kinds import KINDS


def test_samples_are_those_of_the_command_line(model, real, written):
    expected = Showers.from_files([written], model.geometry).read(0, len(real))[1]
    np.testing.assert_array_equal(model.sample(real.energies, seed=4, batch_size=64), expected)


def test_any_batch_size_gives_the_same_rows(model, real):
    energies = real.energies[:20]
    whole = model.sample(energies, seed=9)
    parts = model.sample(energies, seed=9, batch_size=7)
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-2)
    assert not np.array_equal(whole, model.sample(energies, seed=9 + 2**32))


@pytest.mark.parametrize(
    "energies",
    [4096.0, 4096, [4096.0], (4096,), np.array(4096.0), np.array([4096]), np.array([[4096.0]])],
)
def test_numbers_lists_and_arrays_give_an_array(model, energies):
    found = model.sample(energies, seed=2)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_array_equal(found, model.sample(torch.tensor([[4096.0]]), seed=2).numpy())


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_tensors_give_a_tensor(model, shape):
    found = model.sample(torch.full(shape, 4096.0), seed=2)
    assert isinstance(found, torch.Tensor) and not found.is_inference()
    assert found.shape == (1, model.geometry.n_voxels)


def test_no_energies_give_no_showers(model):
    assert model.sample([]).shape == (0, model.geometry.n_voxels)
    assert model.sample(torch.zeros(0, 1)).shape == (0, model.geometry.n_voxels)


def test_showers_draw_energies_of_the_training(model):
    showers = model.showers(30, seed=3)
    assert len(showers) == 30 and showers.geometry == model.geometry
    assert 1024 <= showers.energies.min() <= showers.energies.max() <= 65536
    np.testing.assert_array_equal(showers.array, model.sample(showers.energies, seed=3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda model: model.sample("much"), "energies=much must be numbers in MeV"),
        (lambda model: model.sample([1.0, None]), "must be numbers|finite and above 0"),
        (lambda model: model.sample(np.ones((3, 2))), r"shape \(3, 2\), must be \(N,\) or"),
        (lambda model: model.sample([1e3, -1.0]), "energy -1 MeV in row 1"),
        (lambda model: model.sample([np.nan]), "finite and above 0 MeV"),
        (lambda model: model.sample(1e3, seed=1.5), "seed=1.5 must be a whole number"),
        (lambda model: model.sample(1e3, batch_size=0), "batch_size=0 must be .* from 1"),
        (lambda model: model.showers(0), "n=0 must be a whole number from 1"),
        (lambda model: model.log_prob(np.ones((2, 3)), [1e3, 1e3]), "must be|have shape"),
        (lambda model: model.log_prob(np.ones((2, 368))), "the incident energies"),
        (lambda model: caloman_cli.load_model("nowhere"), "run=nowhere does not exist"),
        (lambda model: caloman_cli.load_model(7), "run directory or a model.pt, not int"),
        (lambda model: caloman_cli.load_model("x", device="gpu"), "does not exist"),
    ],
)
def test_mistakes_are_told_in_one_line(model, call, message):
    with pytest.raises(UserError, match=message) as caught:
        call(model)
    assert "\n" not in str(caught.value)


def test_log_prob_is_the_models(model, real):
    few = real.subset(np.arange(70))
    found = model.log_prob(few, draws=4, seed=2)
    assert found.shape == (70,) and found.dtype == np.float64
    energies, voxels = few.read(0, 70)
    np.testing.assert_array_equal(model.log_prob(voxels, energies[:, 0], draws=4, seed=2), found)
    tensor = model.log_prob(torch.as_tensor(voxels), energies, draws=4, seed=2)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), found)
    rows = torch.as_tensor(voxels[64:]), torch.as_tensor(energies[64:]).float()
    with torch.no_grad():
        expected = model.module.log_prob(*rows, 4, 3)  # the second block has the next seed
    np.testing.assert_array_equal(found[64:], expected.numpy())


def test_a_model_says_what_it_is(model):
    assert "ds1_photons: 368 voxels" in repr(model)
    assert model.kind in KINDS
    assert "MeV" in model.measure
    assert model.spectrum.energies[0] == 1024
    assert model.device == torch.device("cpu")
