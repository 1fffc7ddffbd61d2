"""Densities of clusters: no bridges, right order, parts as they are alone."""

import numpy as np
import pytest
import torch

from caloman_cli.models.densities import GMM, NSF, Clustered, StandardNormal
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.models.adversarial import fit
from tests.training.conftest import make_trainer
from tests.training.models import trained_with_a_cut

__all__ = ["make_trainer"]


def gmm(**built):
    return GMM(2, (8,), **built)


def nsf(**built):
    return NSF(3, 32, 1, 8, **built)


def blobs(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three energies, each with a centre of its own: 0, 10 or 20."""
    which = torch.randint(3, (n, 1)).float()
    return 10.0 * which + 0.3 * torch.randn(n, 2), torch.cat([which, torch.randn(n, 1)], 1)


def prepared(rows, **settings) -> Clustered:
    z, c = rows
    density = Clustered(gmm, **settings, latents=Latents(z.shape[1]), c_dim=c.shape[1])
    density.prepare(TensorRows(z, c))
    return density.eval()


@pytest.mark.parametrize("by", ["energy", "kmeans"])
def test_samples_come_in_the_order_of_the_conditions(by, monkeypatch):
    """Not sorted by cluster, as published code has them; and none between two clusters."""
    torch.manual_seed(0)
    density = prepared(blobs(3000), by=by, clusters=3)
    if by == "kmeans":  # weights that have learned which cluster an energy has
        centres = 10.0 * torch.arange(3.0)[:, None].expand(3, 2)
        own = density._own(density.scaler(centres)[0], centres)
        told = torch.full((3, 3), -torch.inf)
        told[torch.arange(3), own] = 0.0
        monkeypatch.setattr(density, "_log_weights", lambda c: told[c[:, 0].long()])
    z, c = blobs(2000)
    with torch.no_grad():
        drawn = density.sample(c, Noise(1, 0, len(c)))
    torch.testing.assert_close(drawn, z, rtol=0, atol=4.0)
    assert int(density.rows.sum()) == 3000


@pytest.mark.parametrize("by", ["energy", "kmeans"])
def test_log_prob_is_that_of_the_parts(by):
    torch.manual_seed(0)
    density = prepared(blobs(3000), by=by, clusters=3)
    z, c = blobs(500)
    u, log_det = density.scaler(z)
    with torch.no_grad():
        found, parts = density.log_prob(z, c), density._parts()
        each = torch.stack([part.log_prob(u, c) for part in parts], 1)
        if by == "energy":
            expected = each.gather(1, c[:, :1].long())[:, 0]
        else:
            expected = (density._log_weights(c) + each).logsumexp(1)
    torch.testing.assert_close(found, expected + log_det)
    assert density.kind == "exact"


def test_energies_of_a_spectrum_fall_into_equal_clusters():
    torch.manual_seed(0)
    z = torch.randn(4000, 2)
    density = prepared((z, torch.randn(4000, 1)), clusters=8)
    assert max(abs(rows - 500) for rows in density.rows.tolist()) <= 1
    far = torch.tensor([[-9.0], [9.0]])
    assert density._own(far, far).tolist() == [0, 7]


@pytest.mark.parametrize("by", ["energy", "kmeans"])
def test_tiny_clusters_are_joined_to_others(by):
    torch.manual_seed(0)
    z, c = blobs(3000)
    z[:5], c[:5, 0] = 50.0 + 0.1 * torch.randn(5, 2), 7.0
    density = prepared((z, c), by=by, clusters=4)
    assert len(density.parts) == 3
    assert density.rows.min() > 900
    few = prepared((z[5:25], c[5:25]), by=by, clusters=4)
    assert few.rows.tolist() == [20]
    with torch.no_grad():
        assert few.sample(c, Noise(0, 0, len(c))).shape == z.shape


def test_a_cluster_of_one_point_is_none():
    torch.manual_seed(0)
    z, c = blobs(3000)
    z[c[:, 0] == 2] = 20.0
    assert len(prepared((z, c), clusters=3).parts) == 2


def test_other_numbers_of_clusters_are_loaded():
    torch.manual_seed(0)
    density = prepared(blobs(1000), by="kmeans", clusters=3)
    z = torch.randn(500, 2)
    z[:, 1] = 3.0  # a constant, which is no dimension
    other = prepared((z, torch.randn(500, 1)), clusters=4)
    for made, columns in ((density, 2), (other, 1)):
        fresh = Clustered(gmm, made.by, 9, latents=Latents(2), c_dim=columns).eval()
        fresh.load_state_dict(made.state_dict())
        c = torch.randn(50, columns)
        with torch.no_grad():
            drawn, again = (each.sample(c, Noise(2, 0, 50)) for each in (made, fresh))
            assert drawn.equal(again)
            assert made.log_prob(drawn, c).equal(fresh.log_prob(drawn, c))


def segment_and_square(n: int) -> torch.Tensor:
    """(n, 2): a vertical line at -2, a square around 2."""
    first = torch.rand(n, 1) < 0.5
    x = torch.where(first, -2.0, 2.0 + torch.rand(n, 1) - 0.5)
    return torch.cat([x, 2.0 * torch.rand(n, 1) - 1.0], 1)


def test_densities_of_different_spaces_are_not_added():
    torch.manual_seed(0)
    z = segment_and_square(2000)
    density = prepared((z, z[:, :0]), by="kmeans", clusters=2)
    assert sorted(part.scaler.n_active for part in density.parts) == [1, 2]
    assert density.kind == "score"
    fresh = Clustered(gmm, "kmeans", 2, latents=Latents(2), c_dim=0)
    fresh.load_state_dict(density.state_dict())
    assert fresh.kind == "score"
    with torch.no_grad():
        found = density.log_prob(z, z[:, :0])
        u = density.scaler(z)[0]
        own = density._own(u, u)
        parts = torch.stack([part.log_prob(u, z[:, :0]) for part in density._parts()], 1)
    expected = parts.gather(1, own[:, None])[:, 0] + density._log_weights(z[:, :0])[0, own]
    torch.testing.assert_close(found, expected + density.scaler(z)[1])


def test_a_part_without_parameters_leaves_the_weights_to_learn():
    rows = TensorRows(*blobs(300))
    density = Clustered(StandardNormal, "kmeans", 3, latents=Latents(2), c_dim=2)
    density.prepare(rows)
    assert len(density.player_parameters("model")) == 4
    density.loss(rows.rows(np.arange(50))).backward()
    assert density.gate[0].weight.grad is not None


def test_a_killed_training_ends_as_a_whole_one(make_trainer):
    def make():
        torch.manual_seed(5)
        return Clustered(gmm, "kmeans", 5, 15, latents=Latents(2), c_dim=2)

    whole, _ = trained_with_a_cut(make_trainer, make, TensorRows(*blobs(60)), 4)
    assert len(whole.model.parts) < 5


def bridges(density) -> float:
    """Percent of samples between the components, half a unit and more from both."""
    with torch.no_grad():
        z = density.sample(torch.zeros(20_000, 0), Noise(3, 0, 20_000))
    return 100 * float(((z[:, 0] > -1.5) & (z[:, 0] < 1.0)).float().mean())


@pytest.mark.slow
def test_one_flow_has_bridges_and_clusters_have_none():
    """A line and a square, apart; and each has its own dimension."""
    torch.manual_seed(0)
    z = segment_and_square(20_000)
    rows = z, z[:, :0]
    one = fit(nsf(latents=Latents(2), c_dim=0), rows, 300, 5e-3)
    density = Clustered(nsf, "kmeans", 2, latents=Latents(2), c_dim=0)
    fit(density, rows, 300, 5e-3)
    assert bridges(one) > 1.0
    assert bridges(density) < 0.1
    assert sorted(part.scaler.n_active for part in density.parts) == [1, 2]
