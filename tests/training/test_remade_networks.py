"""Models whose ``prepare`` makes networks: the trainer trains those, not the ones before."""

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from caloman_cli.data.files import load_state
from caloman_cli.errors import UserError
from caloman_cli.models.densities.flow import NSF
from caloman_cli.models.densities.flow_matching import FlowMatching
from caloman_cli.models.latents import Latents
from caloman_cli.models.trainable import TensorRows, Trainable
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.verbs.train import run
from tests.training.models import PowerCut
from tests.training.test_resume import Interrupted, power_cut
from tests.training.test_train_verb import compose, write_showers

KINDS = {
    "nsf": lambda: NSF(n_layers=1, hidden=16, n_blocks=1, n_bins=4, latents=Latents(4), c_dim=1),
    "flow_matching": lambda: FlowMatching(
        hidden=16, n_blocks=1, steps=2, latents=Latents(4), c_dim=1
    ),
}


def latents(n: int) -> TensorRows:
    """Four numbers that follow the condition; the third is always the same."""
    generator = torch.Generator().manual_seed(n)
    c = torch.randn(n, 1, generator=generator)
    z = 2.0 * c + 0.3 * torch.randn(n, 4, generator=generator)
    z[:, 2] = 7.0
    return TensorRows(z, c)


@pytest.fixture
def fit(make_trainer):
    def fitted(name, kind, train=None, **settings):
        torch.manual_seed(5)
        density = KINDS[kind]()
        options = {"epochs": 3, "batch_size": 64, "lr": 5e-3, "ema": 0.9, **settings}
        trainer = make_trainer(name, **options)
        summary = trainer.fit("density", density, train or latents(320), latents(100))
        return density, trainer, summary

    return fitted


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_with_a_constant_latent_learns(fit, kind):
    density, trainer, summary = fit("run", kind)
    losses = [row["validation/loss"] for row in trainer.run.history.rows()]
    assert losses[2] < losses[1] < losses[0] - 0.05
    assert density.scaler.active.tolist() == [True, True, False, True]
    assert summary["parameters"] == sum(p.numel() for p in density.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_bit_for_bit_where_it_was_killed(fit, kind):
    whole, trainer, _ = fit("whole", kind)
    # Preparing asks as often as the scaler goes through the rows; then an epoch asks five times.
    broken = Interrupted(latents(320), 9, power_cut)
    with pytest.raises(PowerCut):
        fit("cut", kind, broken)
    resumed, again, _ = fit("cut", kind)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    left, right = (
        [row["validation/loss"] for row in one.run.history.rows()] for one in (trainer, again)
    )
    assert left == right
    a, b = (load_state(one.run.path / "density/last.pt")["players"] for one in (trainer, again))
    assert str(a) == str(b)


def test_the_voxels_themselves_with_one_that_is_dark(tmp_path, tiny_geometry):
    """``caloman train encoder=identity``: every real data set has a voxel that is never lit."""
    write_showers(tmp_path, tiny_geometry)
    with h5py.File(tmp_path / "train.hdf5", "r+") as file:
        voxels = file["showers"][:]
        voxels[:, 4] = 0.0
        file["showers"][:] = voxels
    choices = ["encoder=identity", "preprocess=logit_shares", "energy.hidden=8"]
    choices += ["energy.n_layers=1", "density.n_layers=1", "density.hidden=16"]
    choices += ["density.n_blocks=1", "density.n_bins=4"]
    for stage, epochs in (("energy", 1), ("encoder", 1), ("density", 4)):
        choices += [f"trainer.{stage}.{key}" for key in (f"epochs={epochs}", "warmup=0")]
    choices += ["trainer.density.batch_size=16", "trainer.density.lr=5e-3"]
    run(compose(tmp_path, tiny_geometry, *choices, small=[]))
    rows = RunDirectory(tmp_path / "run").history.rows()
    losses = [row["train/loss"] for row in rows if row["stage"] == "density"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] - 1.0


class Idle(Trainable):
    """Its player forgets a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.forgotten = nn.Linear(1, 1), nn.Linear(1, 1)

    def player_parameters(self, player):
        return list(self.used.parameters())

    def loss(self, batch, player="model"):
        return self.forgotten(self.used(batch[0])).square().mean()


class Stale(Idle):
    """Its player holds what it had before it was prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.before = [*self.used.parameters(), *self.forgotten.parameters()]

    def prepare(self, train):
        self.forgotten = nn.Linear(1, 1, bias=False)

    def player_parameters(self, player):
        return [*self.before, *self.forgotten.parameters()]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Idle, "encoder: no player of Idle holds forgotten.weight, forgotten.bias, which would"),
        (Stale, "encoder: model of Stale holds parameters that are not the model's own"),
    ],
)
def test_players_hold_the_models_parameters_and_no_others(make_trainer, kind, message):
    rows = TensorRows(torch.ones(8, 1))
    with pytest.raises(UserError, match=message):
        make_trainer().fit("encoder", kind(), rows, rows)
