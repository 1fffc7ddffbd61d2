"""What heads say of shares: densities that integrate to one, in units of shares."""

import itertools
import math

import pytest
import torch
from torch.utils._pytree import tree_map

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.models.heads.autoregressive import Autoregressive
from caloman_cli.models.heads.hurdle_mixture import HurdleMixture
from caloman_cli.models.heads.multiscale import Multiscale
from caloman_cli.models.heads.portions import log_slope, logit
from caloman_cli.models.heads.scaled import log_integral
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.preprocess.preprocess import Preprocess
from caloman_cli.models.preprocess.shares import LayerShare, Threshold
from caloman_cli.models.trainable import TensorRows

CUT = 0.1
SLICES = Geometry("slices", "photon", (Layer(0, (0.0, 5.0), 3),), CUT, 2.0)
RINGS = Geometry("rings", "photon", (Layer(0, (0.0, 5.0, 9.0, 20.0), 1),), CUT, 2.0)
ENERGY = 2.0  # MeV, twenty cuts for three voxels


def prepared(make, geometry):
    """A head of one layer of three voxels, in double precision, and c of the energy above."""
    torch.manual_seed(1)
    preprocess = Preprocess([Threshold(), LayerShare()], Conditions(), geometry=geometry)
    voxels = CUT + torch.empty(300, 3).exponential_() * torch.rand(300, 1)
    voxels = voxels * (torch.rand(300, 3) < 0.7)
    e_inc = torch.full((300, 1), 5.0)
    preprocess.fit(TensorRows(voxels, e_inc))
    head = make(geometry=geometry, conditions=preprocess.conditions)
    head.prepare(TensorRows(*preprocess(voxels, e_inc)))
    context = Context(torch.tensor([[5.0]]), torch.tensor([[ENERGY]]))
    return head.double(), preprocess.condition(context).double()


def simplex(n, points):
    """A grid of shares of n voxels above the cut, (N, n), and the volume of its cells."""
    least = CUT / ENERGY
    if n == 1:
        return torch.ones(1, 1).double(), 1.0
    middle = least + (torch.arange(points).double() + 0.5) * (1 - n * least) / points
    cell = ((1 - n * least) / points) ** (n - 1)
    if n == 2:
        return torch.stack([middle, 1 - middle], 1), cell
    first, second = torch.meshgrid(middle, middle, indexing="ij")
    rows = torch.stack([first, second, 1 - first - second], 2).flatten(0, 1)
    return rows[rows[:, 2] > least], cell


HEADS = {
    "slices": (lambda **build: Autoregressive("half_ring", 8, 8, 3, **build), SLICES),
    "ring": (lambda **build: Autoregressive("ring", 8, 8, 2, **build), SLICES),
    "rings": (lambda **build: Autoregressive("ring", 8, 8, 2, **build), RINGS),
    "layer": (lambda **build: Autoregressive("layer", 8, 8, 2, **build), RINGS),
    "hurdle": (lambda **build: HurdleMixture(2, **build), RINGS),
    "hurdle with a copula": (lambda **build: HurdleMixture(2, 2, **build), RINGS),
    "hurdle in two steps": (lambda **build: HurdleMixture(2, 0, 16, **build), RINGS),
    "multiscale": (lambda **build: Multiscale(8, 8, 4, 3, **build), SLICES),
    "multiscale of rings": (lambda **build: Multiscale(8, 8, 4, 2, 1, **build), RINGS),
    "multiscale counted": (
        lambda **build: Multiscale(8, 8, 4, 3, reach=1, counted=True, **build),
        SLICES,
    ),
    "multiscale on a grid": (
        lambda **build: Multiscale(8, 8, 4, 2, 2, 1, paired=True, energies=True, **build),
        SLICES,
    ),
}


SLOW = "hurdle with a copula", "hurdle in two steps"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in HEADS],
)
def test_every_pattern_of_lit_voxels_and_all_shares_add_up_to_one(name, monkeypatch):
    """But for what a head mends after it was drawn: no lit voxel, a walk that does not end."""
    make, geometry = HEADS[name]
    head, c = prepared(make, geometry)
    if "copula" in name:
        head.copula.loadings.data.normal_(std=0.7)
    if "steps" in name:
        head.chessboard.says.weight.data.normal_()
    params = head.params(0.5 * torch.randn(1, head.out_dim).double(), c)

    def of(n):
        return tree_map(lambda part: part.expand(n, *part.shape[1:]), params)

    total = 0.0
    with torch.no_grad():
        for n in (1, 2, 3):
            rows, cell = simplex(n, {1: 1, 2: 500, 3: 120}[n])
            for lit in itertools.combinations(range(3), n):
                x = torch.zeros(len(rows), 3).double()
                x[:, list(lit)] = rows
                total += float(head.log_density(of(len(x)), x).exp().sum()) * cell
        monkeypatch.setattr(head, "_rescued", lambda x, *_: x)
        monkeypatch.setattr(head, "_normalised", lambda x: x)
        drawn = head.sample(of(20_000), Noise(0, 0, 20_000)).double()
    whole = (drawn.sum(1) - 1.0).abs() < 1e-5
    if name.startswith("hurdle"):  # whose shares are scaled, and no larger than one
        whole = ((drawn > 0).sum(1) == 1) | (drawn.sum(1) > 0) & (drawn < 1.0).all(1)
    expected = float(whole.double().mean())
    assert expected == 1.0 if name.startswith("multiscale") else 0.5 < expected < 0.97
    assert total == pytest.approx(expected, abs=0.012)  # four standard errors, and the grid


def test_slope_of_a_portions_logit():
    mine = torch.tensor([1e-2, 0.3, 5.0, 400.0], dtype=torch.float64, requires_grad=True)
    for others in (1.0, torch.tensor([1.0, 2.0, 7.0, 30.0], dtype=torch.float64)):
        rest = torch.tensor([3.0, 2e-2, 5.0, 1.0], dtype=torch.float64)
        whole = (mine + rest).detach()
        y = logit(mine, whole - mine, others)
        (slope,) = torch.autograd.grad(y.sum(), mine)
        torch.testing.assert_close(log_slope(mine.detach(), rest, others), slope.log())


@pytest.mark.parametrize("center", [0.0, 0.3, -2.7])
@pytest.mark.parametrize("width", [3e-3, 0.1, 2.0])
def test_integrals_of_peaks_with_and_without_an_edge(center, width):
    def normal(t):
        return -0.5 * ((t - center) / width).square() - math.log(width * math.sqrt(math.tau))

    low = torch.tensor([-torch.inf, center, center - width, center + 9.0], dtype=torch.float64)
    high = torch.tensor([torch.inf, torch.inf, center + width, center + 8.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 0.5, math.erf(0.5**0.5), 0.0], dtype=torch.float64)
    torch.testing.assert_close(log_integral(normal, low, high).exp(), expected, rtol=1e-4, atol=0)
