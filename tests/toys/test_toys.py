"""Strangers' encoders train and sample from the command line, each found by its YAML."""

import h5py
import numpy as np
import pytest
import torch

from caloman_cli.config.targets import trusting
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import load_model
from caloman_cli.training.latents import active_dimensions, read_latents, write_latents
from tests.contracts.groups import (
    TOYS,
    build_density,
    make_encoder,
    options,
    share_rows,
    target,
    tiny,
    toys,
)
from tests.contracts.pairs import latents_of

SMALL = [
    "recipe=none", "dataset=builtin_photons", "dataset.builtin.n_train=300",
    "dataset.builtin.n_reference=10", "trainer=quick", "device=cpu", "output=run",
    *(f"trainer.{stage}.epochs=1" for stage in ("energy", "encoder", "density")),
    "energy.hidden=8", "energy.n_layers=1",
]  # fmt: skip


def partner(encoder):
    """The first density that learns what an encoder hands over."""
    kind = latents_of(encoder, "gaussian").kind
    known = [*options("density"), *toys("density")]
    return next(name for name in known if build_density(name).latents.kind == kind)


MODELS = [(encoder, partner(encoder)) for encoder in toys("encoder")]


@pytest.mark.parametrize(("encoder", "density"), MODELS)
def test_a_strangers_model_trains_and_samples(encoder, density, caloman, tmp_path):
    chosen = [f"encoder={encoder}", f"density={density}", "head=gaussian"]
    done = caloman("train", "--config-dir", TOYS, *chosen, *SMALL)
    assert done.status == 0, done.err
    mine = [target(*part) for part in (("encoder", encoder), ("density", density))
            if part[1] in toys(part[0])]  # fmt: skip
    done = caloman("sample", "run=run", "n=20", "out=x.hdf5", "device=cpu")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert f"trust=[{mine[0]}]" in done.err
    trust = f"trust=[{','.join(mine)}]"
    done = caloman("sample", "run=run", "n=20", "out=x.hdf5", "device=cpu", trust)
    assert done.status == 0, done.err
    with h5py.File(tmp_path / "x.hdf5") as file:
        assert file["showers"].shape[0] == 20
        assert np.isfinite(file["showers"][:]).all()
        assert (file["showers"][:].sum(1) > 0).all()
    with h5py.File(tmp_path / "run/latents.h5") as file, trusting(mine):
        model, _ = load_model(tmp_path / "run/model.pt")
        np.testing.assert_array_equal(file["row"], np.arange(300))
        assert ("draw" in file) == model.encoder.only_draws
        assert file["draw" if model.encoder.only_draws else "sigma"].shape == file["mean"].shape
        if model.encoder.latents.n_codes is not None:
            assert set(np.unique(file["mean"])) <= set(range(model.encoder.latents.n_codes))


def test_codes_are_refused_by_a_density_of_real_latents(caloman, tmp_path):
    """A spline through numbers without an order would train in silence."""
    done = caloman("train", "--config-dir", TOYS, "encoder=vq", "density=nsf", *SMALL)
    assert (done.status, done.err.count("\n")) == (2, 1)
    for word in ("density=nsf", "encoder=VQ", "4 codes, each one of 8", "use a density of codes"):
        assert word in done.err
    assert not (tmp_path / "run").exists()


def test_a_posterior_without_a_name_is_drawn_from_in_the_file(tmp_path):
    """Sixteen draws of each shower, one of which is chosen anew every time."""
    geometry = tiny()
    encoder = make_encoder("my_avb", "autoregressive_dipoles", geometry).eval()
    x, c = share_rows(geometry, 40)
    encoder.prepare(TensorRows(x, c))
    for path in (tmp_path / "one.h5", tmp_path / "two.h5"):
        write_latents(path, encoder, TensorRows(x, c), np.arange(30), seed=5)
    train, validation = read_latents(tmp_path / "one.h5", "sample", "cpu")
    assert (len(train), len(validation)) == (30, 10)
    assert train.drawn.shape == (30, 16, encoder.latents.dim)
    again, _ = read_latents(tmp_path / "two.h5", "sample", "cpu")
    assert torch.equal(train.drawn, again.drawn)
    z, conditions = train.rows(np.full(2000, 7))
    assert torch.equal(conditions, c[7].expand(2000, -1))
    assert torch.equal(torch.unique(z, dim=0), torch.unique(train.drawn[7], dim=0))
    means, _ = read_latents(tmp_path / "one.h5", "mean", "cpu")
    z, _ = means.rows(np.arange(30))
    error = train.drawn.std(1) * (2 / 16) ** 0.5
    assert ((z - train.drawn.mean(1)).abs() < 6 * error + 1e-5).all()
    learned = slice(encoder.n_learned)
    spread = (part.std(1)[:, learned].mean() for part in (means.mean, train.drawn))
    assert 0.1 < float(next(spread) / next(spread)) < 0.4  # of an average of 16: a quarter
    # Moments are means of themselves.
    torch.testing.assert_close(z[:, encoder.n_learned :], encoder.head.moments(x, c)[:30])
    used = active_dimensions(tmp_path / "one.h5", encoder.n_learned)
    assert 0 <= used <= encoder.n_learned


def test_of_latents_that_are_drawn_the_noise_is_not_counted_as_use(tmp_path):
    rng = np.random.default_rng(0)
    said = rng.normal(size=(400, 1, 2)) * [1.0, 0.0]
    drawn = said + rng.normal(size=(400, 16, 2)) * [0.1, 1.0]
    mean = said + rng.normal(size=(400, 16, 2)) * [0.1 / 4, 1 / 4]
    with h5py.File(tmp_path / "latents.h5", "w") as file:
        file["mean"], file["draw"] = mean.astype("f4"), drawn.astype("f4")
    assert active_dimensions(tmp_path / "latents.h5", 2) == 1
