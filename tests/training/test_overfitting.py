"""A density that overfits a manifold is told from one that learns a distribution."""

import h5py
import numpy as np
import pytest
import torch

from caloman_cli.data.files import read_json
from caloman_cli.models.densities.narrowness import narrowest_width
from caloman_cli.models.densities.standard_normal import StandardNormal
from caloman_cli.models.latents import Latents
from caloman_cli.models.trainable import TensorRows
from caloman_cli.training.overfitting import (
    GROWTH,
    growth_of,
    manifold_overfitting,
)
from caloman_cli.verbs.train import run
from tests.training.test_train_verb import compose


def course(losses, rates=None):
    rates = [1e-3] * len(losses) if rates is None else rates
    return [{"validation/loss": loss, "lr": lr} for loss, lr in zip(losses, rates, strict=True)]


def test_growth_is_that_of_the_second_half_at_the_full_rate():
    assert growth_of(course([9, 8, 7, 6.5, 6.0, 5.5])) == pytest.approx(0.5)
    # A quarter of the learning gained a quarter: nothing has converged.
    slow = course([9, 8, 7, 6.875, 6.75, 6.625], [1e-3] * 3 + [2.5e-4] * 3)
    assert growth_of(slow) == pytest.approx(0.5)
    assert growth_of(course([9, 8, 7, 7, 7, 7])) == 0
    assert growth_of(course([5, 6])) < 0
    assert growth_of(course([5])) == growth_of([]) == 0
    assert growth_of([{"validation/loss": None, "lr": 1.0}] * 4) == 0


class Rotated(StandardNormal):
    """Normal in two directions that are rotated, 1 and 0.01 wide."""

    matrix = torch.tensor([[0.8, -0.6], [0.6, 0.8]]) * torch.tensor([1.0, 0.01])

    def _sample(self, c, noise):
        return super()._sample(c, noise) @ self.matrix.T

    def _log_prob(self, u, c):
        return super()._log_prob(u @ torch.linalg.inv(self.matrix).T, c)


MADE = {"latents": Latents(2), "c_dim": 1}
ROWS = TensorRows(torch.zeros(600, 2), torch.zeros(600, 1))


def test_the_narrowest_direction_of_a_normal_distribution():
    assert narrowest_width(StandardNormal(**MADE), ROWS) == pytest.approx(1, rel=0.1)
    assert narrowest_width(Rotated(**MADE), ROWS) == pytest.approx(0.01, rel=0.1)


def test_only_what_climbs_an_exact_likelihood_is_looked_at():
    rising = course([9, 7, 5, 3])
    found = manifold_overfitting(Rotated(**MADE), ROWS, rising)
    assert found.growth > GROWTH
    assert found.width == pytest.approx(0.01, rel=0.1)
    assert manifold_overfitting(Rotated(**MADE), ROWS, course([3, 3, 3, 3])) is None
    assert manifold_overfitting(StandardNormal(**MADE), ROWS, rising) is None  # wide
    bound, codes, other = (Rotated(**MADE) for _ in range(3))
    bound.kind, codes.latents = "bound", Latents(2, "codes", 3)
    assert manifold_overfitting(bound, ROWS, rising) is None
    assert manifold_overfitting(codes, ROWS, rising) is None
    other.__class__ = type("Other", (Rotated,), {"loss": lambda *_: torch.zeros(())})
    assert manifold_overfitting(other, ROWS, rising) is None


TRAINED = [
    "encoder=pca", "encoder.latent_dim=4", "encoder.decoder=closed", "preprocess=logit_shares",
    "density=maf", "density.hidden=32", "density.n_layers=3", "density.n_blocks=1",
    "energy.n_layers=1", "energy.hidden=8", "energy.n_blocks=1", "energy.mask_hidden=8",
    *(f"trainer.{stage}.{key}" for stage in ("energy", "density")
      for key in ("epochs=2", "batch_size=64", "warmup=0")),
    "trainer.density.epochs=40", "trainer.density.lr=3e-3", "trainer.density.ema=null",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("thin", [True, False])
def test_training_says_so(tmp_path, tiny_geometry, caplog, thin):
    """Four latents of showers with one free number, and of showers with many."""
    rng, n, width = np.random.default_rng(0), 600, tiny_geometry.n_voxels
    t = rng.normal(size=(n, 1 if thin else width))
    logs = np.sin(t * np.linspace(0.5, 1.5, width)) if thin else 0.5 * t
    voxels = np.exp(logs)
    for name in ("train", "reference"):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file["incident_energies"] = np.full((n, 1), 1e4)
            file["showers"] = 8e3 * voxels / voxels.sum(1, keepdims=True)
    with caplog.at_level("WARNING"):
        run(compose(tmp_path, tiny_geometry, small=TRAINED))
    said = [row.message for row in caplog.records if "overfitting a manifold" in row.message]
    assert len(said) == thin, caplog.text
    ease = read_json(tmp_path / "run/provenance.json")["stages"]["encoder"]["diffusability"]
    assert 0 < ease["narrowest"] < 1
    assert (ease["roughness"] > 0.2) == thin
    if thin:
        assert "encoder.latent_dim" in said[0] and "density.noise" in said[0]
        run(compose(tmp_path, tiny_geometry, small=TRAINED))  # complete: nothing is said again
        assert caplog.text.count("overfitting a manifold") == 1
