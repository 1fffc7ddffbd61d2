"""A copula of voxels: what it adds, what it leaves alone, and what it learns."""

import math

import pytest
import torch
from scipy.stats import ks_2samp

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.models.heads import mixture
from caloman_cli.models.heads.copula import Copula
from caloman_cli.models.heads.hurdle_mixture import HurdleMixture
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import maker
from tests.models.heads import detector, drawn_by, prepared
from tests.models.test_heads import learned, two_layers

__all__ = ["detector"]
PAIR = Geometry("pair", "photon", (Layer(0, (0.0, 5.0), 1), Layer(1, (0.0, 5.0), 1)), 0.1, 2.0)


def voxels(rows, n):
    """Mixtures of n voxels in double precision, and their cuts."""
    m = mixture.mixture(0.7 * torch.randn(rows, 10, n).double())
    return m, -0.5 - torch.rand(rows, n).double()


def test_without_loadings_voxels_are_independent(detector):
    plain, x, c = prepared("hurdle_mixture", detector)
    head, _, _ = prepared("hurdle_mixture_copula", detector)
    torch.nn.init.zeros_(head.copula.loadings)
    params = head.params(torch.randn(len(x), head.out_dim), c)
    for asked in "log_prob", "log_density":
        expected = getattr(plain, asked)(params, x)
        torch.testing.assert_close(getattr(head, asked)(params, x), expected, rtol=1e-6, atol=1e-5)


def test_without_a_copula_nothing_is_new(tiny_geometry):
    head, _, _ = prepared("hurdle_mixture", tiny_geometry)
    assert sorted(head.state_dict()) == ["shares.mean", "shares.std"]
    assert not list(head.parameters())


def test_quantiles_are_where_the_tails_are():
    torch.manual_seed(1)
    m, edge = voxels(2000, 5)
    survival = torch.rand(2000, 5).double()
    y = mixture.quantile(m, survival, edge)
    assert (y >= edge).all()
    above, below = mixture.tails(m, y, edge)
    torch.testing.assert_close(above + below, torch.ones_like(above))
    assert float(((above - survival).abs() > 1e-3).double().mean()) < 1e-3


def test_each_voxel_by_itself_is_as_it_was(detector, monkeypatch):
    """Of all voxels, the one whose two samples are least alike."""
    torch.manual_seed(2)
    n = 4000
    plain, _, _ = prepared("hurdle_mixture", detector)
    head, _, c = prepared("hurdle_mixture_copula", detector)
    torch.nn.init.normal_(head.copula.loadings, std=2.0)
    params = head.params(torch.randn(1, head.out_dim).expand(n, -1), c[1:2].expand(n, -1))
    drawn = drawn_by(head, params, monkeypatch)
    apart = drawn_by(plain, params, monkeypatch)
    found = [ks_2samp(*both).pvalue for both in zip(drawn.T.numpy(), apart.T.numpy(), strict=True)]
    assert min(found) > 1e-3 / len(found)
    # And it correlates them: independent ones never so much.
    off = torch.corrcoef((drawn > 0).float().T + 1e-4 * torch.randn(head.x_dim, n))
    assert float(off.fill_diagonal_(0.0).abs().max()) > 0.3


@pytest.mark.parametrize("size", [0.5, 1.5])
def test_it_integrates_over_its_factor(size):
    """Against a fine grid: known scores, dark voxels and lit ones of unknown brightness."""
    torch.manual_seed(3)
    copula = Copula(5, 1).double()
    torch.nn.init.normal_(copula.loadings, std=size)
    m, edge = voxels(200, 5)
    lit, y = copula.draw(m, Noise(0, 0, 200), edge)
    scores = copula.scores(m, y, edge, lit, lit & (torch.rand(200, 5) < 0.8))
    grid = torch.linspace(-8.0, 8.0, 1601).double()
    with torch.no_grad():
        found = copula.log_prob(scores)
        parts = torch.stack([copula.given(scores, w.expand(200, 1)) for w in grid])
    normal = -0.5 * grid.square() + math.log(0.01 / math.sqrt(math.tau))
    expected = torch.logsumexp(parts + normal[:, None], 0)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.06)
    assert float((found - expected).abs().mean()) < 5e-3
    assert expected.abs().mean() > 0.05


def test_two_voxels_add_up_to_one():
    torch.manual_seed(4)
    conditions = maker("preprocess", "shares")(geometry=PAIR).conditions
    head = HurdleMixture(2, 1, geometry=PAIR, conditions=conditions).double()
    torch.nn.init.constant_(head.copula.loadings, 1.5)
    assert total_of_two_voxels(head) == pytest.approx(1.0, abs=0.01)


def total_of_two_voxels(head):
    """In units of y: both dark, either, or both with all brightnesses."""
    context = Context(torch.full((1, 1), 100.0), torch.full((1, 2), 20.0))
    params = head.params(
        0.5 * torch.randn(1, head.out_dim).double(), head.conditions(context).double()
    )
    step, n = 0.05, 500
    y = float(params.edge[0, 0]) + step * (torch.arange(n).double() + 0.5)
    x = torch.cat([torch.zeros(1).double(), y.exp()])
    volume = torch.cat([torch.zeros(1).double(), torch.full((n,), math.log(step)).double()])
    rows = torch.cartesian_prod(x, x)
    with torch.no_grad():
        found = head.log_prob(expanded(params, len(rows)), rows)
    return float((found + (volume[:, None] + volume).flatten()).exp().sum())


def expanded(params, n):
    """The same parameters for n rows."""
    m = mixture.Mixture(*(part.expand(n, *part.shape[1:]) for part in params.mixture))
    return type(params)(m, params.edge.expand(n, -1))


@pytest.mark.parametrize(("rank", "expected"), [(0, 0.0), (2, 0.8)])
def test_the_correlation_of_two_layers_is_learned(rank, expected):
    """Of normal logits of shares; the decoder tells nothing."""
    torch.manual_seed(5)
    geometry, n = two_layers(), 4096
    common, own = torch.randn(n, 1), torch.randn(n, 2)
    inner = torch.sigmoid(0.7 * (math.sqrt(0.8) * common + math.sqrt(0.2) * own))
    x = torch.stack([inner[:, 0], 1 - inner[:, 0], inner[:, 1], 1 - inner[:, 1]], 1)
    conditions = maker("preprocess", "shares")(geometry=geometry).conditions
    c = conditions(Context(torch.full((n, 1), 1e4), torch.full((n, 2), 1e3)))
    head = HurdleMixture(2, rank, geometry=geometry, conditions=conditions)
    head.prepare(TensorRows(x, c))
    raw = learned(head, x, c, 300)
    with torch.no_grad():
        drawn = head.sample(head.params(raw.expand(n, -1), c), Noise(0, 0, n))
    drawn = drawn[(drawn > 0).all(1)]
    assert len(drawn) > 0.5 * n
    found = float(torch.corrcoef(torch.logit(drawn[:, [0, 2]]).T)[0, 1])
    assert found == pytest.approx(expected, abs=0.06)
