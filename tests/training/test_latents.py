"""``latents.h5``: rows, orientations, posterior noise, and which latents are in use."""

import h5py
import numpy as np
import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities.flow import NSF
from caloman_cli.models.encoders.identity import Identity
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.latents import Latents
from caloman_cli.models.trainable import TensorRows
from caloman_cli.training.latents import LatentRows, active_dimensions, read_latents, write_latents
from tests.contracts.groups import flat, image_geometry, make_head, maker, share_rows


def test_latent_i_belongs_to_condition_i(tmp_path):
    """The original encoded a shuffling loader: pairs were scrambled and p(z|c) became p(z)."""
    x = torch.arange(40.0).reshape(20, 2)
    rows = TensorRows(x, 10 * x[:, :1])
    train = np.array([1, 2, 3, 5, 8, 13, 19])
    encoder = Identity(x_dim=2, c_dim=1, head=Gaussian("fixed", **flat(2)))
    write_latents(tmp_path / "latents.h5", encoder, rows, train)
    with h5py.File(tmp_path / "latents.h5") as file:
        np.testing.assert_array_equal(file["mean"][:, 0], x)
        np.testing.assert_array_equal(file["condition"][:, 0], 10 * x[:, 0])
        np.testing.assert_array_equal(np.flatnonzero(file["train"][:]), train)
    for split, index in zip(
        read_latents(tmp_path / "latents.h5", "mean", "cpu"),
        (train, np.setdiff1d(np.arange(20), train)),
        strict=True,
    ):
        z, c = split.rows(np.arange(len(split))[::-1].copy())
        assert torch.equal(z, x[index[::-1].copy()])
        assert torch.equal(c, 10 * z[:, :1])


def test_posterior_samples_are_drawn_anew_around_the_means():
    mean, sigma = np.zeros((4000, 1, 2), "f4"), np.tile(np.float32([0.5, 2.0]), (4000, 1, 1))
    rows = LatentRows(mean, sigma, mean[:, 0, :1], "cpu")
    first, _ = rows.rows(np.arange(4000))
    second, _ = rows.rows(np.arange(4000))
    assert not torch.equal(first, second)
    assert first.std(0).tolist() == pytest.approx([0.5, 2.0], rel=0.05)


@pytest.fixture
def turning():
    """A VAE that learns turned showers and is told which way they lean, and 40 showers."""
    geometry = image_geometry()
    head, (x, c) = make_head("cylinder_direction", geometry), share_rows(geometry, 40)
    encoder = maker("encoder", "vae")(augment=True, x_dim=x.shape[1], c_dim=c.shape[1], head=head)
    encoder.prepare(TensorRows(x, c))
    return encoder.eval(), x, c


def test_turned_showers_are_encoded_turned(turning, tmp_path):
    """Eight orientations of each, evenly spaced: no direction is preferred by accident."""
    encoder, x, c = turning
    write_latents(tmp_path / "latents.h5", encoder, TensorRows(x, c), np.arange(30))
    with h5py.File(tmp_path / "latents.h5") as file:
        mean, sigma = file["mean"][:], file["sigma"][:]
        np.testing.assert_array_equal(file["condition"][:], c)
    assert mean.shape == sigma.shape == (40, 8, encoder.latent_dim)
    leans = mean[..., encoder.n_learned :]
    alone = encoder.head.moments(x, c).numpy()
    np.testing.assert_allclose(
        np.hypot(*np.moveaxis(leans, 2, 0)), np.hypot(*alone.T)[:, None].repeat(8, 1), rtol=1e-4
    )
    assert np.abs(alone.mean(0)).max() > 0.01
    np.testing.assert_allclose(leans.mean(1), 0.0, atol=1e-5)
    with torch.no_grad():
        every = torch.stack(
            [
                encoder.encode(encoder.head.turned(x, torch.full((40,), turn)), c)
                for turn in range(encoder.n_turns)
            ],
            1,
        ).numpy()
    apart = np.abs(mean[:, :, None] - every[:, None]).max(3).min(2)
    assert apart.max() < 1e-4
    # Mirrored ones, too: each shower begins with one of its own.
    first = np.abs(mean[:, :1] - every).max(2).argmin(1)
    assert set(first % 2) == {0, 1}


def test_an_orientation_is_drawn_anew_each_time(turning, tmp_path):
    encoder, x, c = turning
    write_latents(tmp_path / "latents.h5", encoder, TensorRows(x, c), np.arange(40))
    train, _ = read_latents(tmp_path / "latents.h5", "mean", "cpu")
    rows = np.full(4000, 7)
    z, conditions = train.rows(rows)
    assert torch.equal(conditions, c[rows])
    found = {tuple(one) for one in z[:, encoder.n_learned :].round(decimals=5).tolist()}
    assert len(found) == 8
    samples, _ = read_latents(tmp_path / "latents.h5", "sample", "cpu")
    again = samples.rows(rows)[0][:, encoder.n_learned :]
    # Posterior noise of the orientation that was drawn: 0.1 for moments.
    spread = (again[:, None] - train.mean[7, :, encoder.n_learned :]).norm(dim=2).amin(1)
    assert 0.05 < float(spread.mean()) < 0.2


def test_without_turned_showers_each_is_encoded_once(tmp_path):
    encoder = Identity(x_dim=2, c_dim=1, head=Gaussian("fixed", **flat(2)))
    rows = TensorRows(torch.randn(10, 2), torch.ones(10, 1))
    write_latents(tmp_path / "latents.h5", encoder, rows, np.arange(8))
    with h5py.File(tmp_path / "latents.h5") as file:
        assert file["mean"].shape == file["sigma"].shape == (10, 1, 2)


def test_a_file_that_encoded_every_shower_once_is_read(tmp_path):
    with h5py.File(tmp_path / "latents.h5", "w") as file:
        file["mean"], file["sigma"] = np.ones((4, 2), "f4"), np.zeros((4, 2), "f4")
        file["condition"], file["train"] = np.ones((4, 1), "f4"), np.array([True] * 3 + [False])
    train, validation = read_latents(tmp_path / "latents.h5", "sample", "cpu")
    assert train.rows(np.arange(3))[0].shape == (3, 2)
    assert len(validation) == 1


def collapsed_rows(n=2000):
    """Posterior samples of which the last latent is the prior's, whatever the shower."""
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(n, 1, 3, generator=generator) * torch.tensor([1.0, 0.5, 1e-3])
    sigma = torch.tensor([0.1, 0.5, 1.0]).expand(n, 1, 3)
    return LatentRows(mean, sigma, torch.zeros(n, 1), "cpu")


def test_pruning_looks_at_posterior_means():
    """A latent that is not used has the prior's variance, as large as the others'."""
    density = NSF(n_layers=1, prune=1e-2, latents=Latents(3), c_dim=1)
    density.prepare(collapsed_rows())
    assert density.scaler.active.tolist() == [True, True, False]
    assert density.scaler.std[2] == pytest.approx(1.0, abs=0.05)  # what it is drawn with
    whole = NSF(n_layers=1, latents=Latents(3), c_dim=1)
    whole.prepare(collapsed_rows())
    assert whole.scaler.active.all()


def test_pruning_everything_is_refused():
    rows = collapsed_rows()
    with pytest.raises(UserError, match="the encoder collapsed"):
        NSF(prune=0.1, latents=Latents(3), c_dim=1).prepare(
            LatentRows(0 * rows.mean, rows.sigma, rows.condition, "cpu")
        )


def test_active_latents_are_counted_without_moments_and_in_the_encoders_units(tmp_path):
    def active(mean, sigma, n_learned):
        with h5py.File(tmp_path / "latents.h5", "w") as file:
            file["mean"], file["sigma"] = mean, sigma
        return active_dimensions(tmp_path / "latents.h5", n_learned)

    mean = np.random.default_rng(0).normal(size=(50, 2, 4)) * [1.0, 0.01, 0.0, 1.0]
    assert active(mean, np.ones((50, 2, 4)), 4) == 2
    assert active(mean, np.ones((50, 2, 4)), 3) == 1
    assert active(mean, np.zeros((50, 2, 4)), 4) == 3  # no prior: small is not unused
    assert active(mean[:, 0] * 0 + 1, np.ones((50, 4)), 4) == 0
