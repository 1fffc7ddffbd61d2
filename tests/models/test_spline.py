"""The spline kernel against nflows, against autograd and against its own limits."""

import copy

import pytest
import torch
from nflows import transforms
from nflows.nn.nets import ResidualNet

from caloman_cli.errors import UserError
from caloman_cli.models.densities.flow import NSF
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.flows import build_maf, build_nsf
from caloman_cli.models.nn.spline import _solve, rational_quadratic_spline
from tests.models.operations import Counting

# nflows solves with a function that torch has deprecated.
STOCK = pytest.mark.filterwarnings("ignore:.*triangular_solve is deprecated.*:UserWarning")


def shaken(flow, by=0.1):
    """Weights away from the identity that flows start at."""
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return flow.eval()


def stock(dim, context_dim, n_layers=4, n_bins=8, tail_bound=8.0):
    layers = []
    for i in range(n_layers):
        mask = [1 if (j + i) % 2 else -1 for j in range(dim)]
        layers += [
            transforms.PiecewiseRationalQuadraticCouplingTransform(
                mask,
                lambda n_in, n_out: ResidualNet(n_in, n_out, 64, context_dim, 3),
                n_bins,
                tails="linear",
                tail_bound=tail_bound,
            ),
            transforms.RandomPermutation(dim),
            transforms.LULinear(dim),
        ]
    return transforms.CompositeTransform(layers).eval()


def parts(n_bins, shape, spread=1.0):
    """Widths, heights and slopes of random splines."""
    widths = torch.softmax(spread * torch.randn(n_bins, *shape), 0) * (1 - 1e-3 * n_bins) + 1e-3
    heights = torch.softmax(spread * torch.randn(n_bins, *shape), 0) * (1 - 1e-3 * n_bins) + 1e-3
    return widths, heights, spread * torch.randn(n_bins - 1, *shape)


@STOCK
def test_equals_nflows_on_the_same_weights():
    ours = shaken(build_nsf(7, 3), 0.05)
    theirs = stock(7, 3)
    theirs.load_state_dict(ours.transform.state_dict())
    x, u, context = 2 * torch.randn(500, 7), torch.randn(500, 7), torch.randn(500, 3)
    with torch.no_grad():
        image, logabsdet = ours(x, context)
        expected, expected_logabsdet = theirs(x, context)
        torch.testing.assert_close(image, expected, rtol=0, atol=5e-5)
        torch.testing.assert_close(logabsdet, expected_logabsdet, rtol=0, atol=2e-4)
        torch.testing.assert_close(
            ours.inverse(u, context), theirs.inverse(u, context)[0], rtol=0, atol=5e-5
        )


@STOCK
def test_equals_nflows_to_rounding_in_double_precision():
    ours = shaken(build_nsf(5, 2)).double()
    theirs = stock(5, 2).double()
    theirs.load_state_dict(ours.transform.state_dict())
    x, context = 3 * torch.randn(200, 5).double(), torch.randn(200, 2).double()
    with torch.no_grad():
        for mine, reference in (
            (ours(x, context), theirs(x, context)),
            (ours.transform.inverse(x, context), theirs.inverse(x, context)),
        ):
            torch.testing.assert_close(mine, reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dim", "context_dim"), [(1, 0), (1, 2), (2, 0), (2, 2), (6, 3)])
@pytest.mark.parametrize("build", [build_nsf, build_maf])
def test_inverse_and_determinant(build, dim, context_dim):
    flow = shaken(build(dim, context_dim), 0.03).double()
    x = 2 * torch.randn(16, dim).double()
    context = torch.randn(16, context_dim).double() if context_dim else None
    u, logabsdet = flow(x, context)
    torch.testing.assert_close(flow.inverse(u, context), x, rtol=0, atol=1e-8)
    for i in range(4):
        row = None if context is None else context[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda y, row=row: flow(y.unsqueeze(0), row)[0][0], x[i]
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], logabsdet[i].detach())
    assert flow.log_prob(x, context).shape == (16,)


@pytest.mark.parametrize(
    "settings", [{}, {"lu": False}, {"n_blocks": 0}, {"activation": "gelu", "n_bins": 2}]
)
@pytest.mark.parametrize(("dim", "context_dim"), [(1, 0), (1, 2), (2, 0), (7, 3)])
def test_the_way_back_is_the_inverse_of_the_layers(dim, context_dim, settings):
    """The slow way has slopes, for training."""
    torch.manual_seed(2)
    flow = shaken(build_nsf(dim, context_dim, **settings), 0.3).double()
    u = 6 * torch.randn(400, dim).double()
    context = torch.randn(400, context_dim).double() if context_dim else None
    with torch.no_grad():
        expected, _ = flow.transform.inverse(u, context)
        torch.testing.assert_close(flow.inverse(u, context), expected, rtol=1e-9, atol=1e-9)
        flow.float()
        single = flow.inverse(u.float(), None if context is None else context.float())
    assert (single - expected).abs().quantile(0.99) < 1e-3


def test_the_way_back_takes_few_operations():
    flow = shaken(build_nsf(7, 3))
    with torch.inference_mode(), Counting() as counting:
        flow.inverse(torch.randn(5, 7), torch.randn(5, 3))
    assert counting.calls.total() <= 400


def test_context_moves_a_one_dimensional_flow():
    flow = shaken(build_nsf(1, 2))
    u = torch.zeros(2, 1)
    x = flow.inverse(u, torch.tensor([[0.0, 0.0], [3.0, -3.0]]))
    assert x[0] != x[1]


@pytest.mark.parametrize("tail_bound", [1.0, 8.0, 32.0, 100.0])
def test_inputs_at_and_beyond_the_bound(tail_bound):
    """nflows fails with an index error at bounds of 32 and more."""
    x = torch.tensor([-tail_bound, tail_bound, -1.5 * tail_bound, 1e6, -1e30])
    for inverse in (False, True):
        y, log_slope = rational_quadratic_spline(x, *parts(8, (5,)), tail_bound, inverse)
        torch.testing.assert_close(y, x, rtol=1e-6, atol=0)
        assert torch.isfinite(log_slope).all()
        assert (log_slope[2:] == 0).all()


def test_monotone_across_all_bins():
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    widths, heights, slopes = (p.expand(-1, 2001) for p in parts(16, (1,), spread=2.0))
    arguments = (widths.double(), heights.double(), slopes.double(), 8.0)
    y, log_slope = rational_quadratic_spline(x, *arguments)
    assert (y.diff() > 0).all()
    torch.testing.assert_close(rational_quadratic_spline(y, *arguments, inverse=True)[0], x)
    numeric = (y[2:] - y[:-2]) / (x[2:] - x[:-2])
    assert (numeric.log() - log_slope[1:-1]).abs().median() < 1e-3


def test_extreme_slopes_that_make_the_textbook_discriminant_negative():
    """b^2 - 4ac of these bins is negative in float32; nflows stops the whole batch on one."""
    torch.manual_seed(3)
    slope, d0, d1, gap = (
        10 ** (low + (high - low) * torch.rand(200_000))
        for low, high in ((-3, 0), (1, 3), (-3, -1), (-7, -2))
    )
    v = 1 - gap
    a = v * (d0 + d1 - 2 * slope) + (slope - d0)
    b = d0 - v * (d0 + d1 - 2 * slope)
    textbook = b.square() + 4 * a * slope * v
    theta = _solve(v, slope, d0, d1)
    exact = _solve(v.double(), slope.double(), d0.double(), d1.double())
    mixed = exact * (1 - exact)
    reached = slope.double() * (slope * exact.square() + d0 * mixed)
    reached = reached / (slope * (slope + (d0.double() + d1 - 2 * slope) * mixed))
    torch.testing.assert_close(reached, v.double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(theta.double(), exact, rtol=0, atol=5e-5)
    assert (textbook < 0).any()


@pytest.mark.parametrize("inverse", [False, True])
def test_extreme_parameters_give_finite_numbers_and_gradients(inverse):
    x = torch.cat([torch.linspace(-8, 8, 199), torch.zeros(1)]).requires_grad_()
    logits = (1e3 * torch.randn(3, 8, 200)).requires_grad_()
    widths, heights = torch.softmax(logits[:2], 1) * (1 - 8e-3) + 1e-3
    y, log_slope = rational_quadratic_spline(x, widths, heights, logits[2, :7], 8.0, inverse)
    assert torch.isfinite(y).all()
    assert torch.isfinite(log_slope).all()
    (y.sum() + log_slope.sum()).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(logits.grad).all()


def test_huge_inputs_pass_the_linear_tails():
    flow = build_nsf(4, 0)
    x = torch.full((3, 4), 1e6)
    u, _ = flow(x)
    assert torch.isfinite(flow.log_prob(x)).all()
    torch.testing.assert_close(flow.inverse(u), x)


@pytest.mark.parametrize("build", [build_nsf, build_maf])
def test_numbers_that_are_not_finite_are_named(build):
    flow = build(3, 2)
    x, context = torch.zeros(4, 3), torch.zeros(4, 2)
    with pytest.raises(FloatingPointError, match="1 of 4 rows of its context"):
        flow.log_prob(x, context.index_fill(0, torch.tensor([1]), torch.nan))
    with pytest.raises(FloatingPointError, match="1 of 4 rows of its input"):
        flow.inverse(x.index_fill(0, torch.tensor([2]), torch.nan), context)
    broken = copy.deepcopy(flow)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    for call in (broken.log_prob, broken.inverse):
        with pytest.raises(FloatingPointError, match="parameters are not finite"):
            call(x, context)


@pytest.mark.parametrize("build", [build_nsf, build_maf])
def test_new_weights_are_used_at_once(build):
    """A cached inverse of the linear layers would survive load_state_dict."""
    flow, other = shaken(build(3, 0)), shaken(build(3, 0))
    u = torch.randn(10, 3)
    flow.inverse(u)
    flow.load_state_dict(other.state_dict())
    torch.testing.assert_close(flow.inverse(u), other.inverse(u))


def test_rows_do_not_depend_on_their_chunk():
    flow = shaken(build_nsf(4, 2), 0.05)
    u, context = torch.randn(5000, 4), torch.randn(5000, 2)
    with torch.no_grad():
        whole = flow.inverse(u, context)
        torch.testing.assert_close(
            flow.inverse(u[2040:2060], context[2040:2060]), whole[2040:2060]
        )
    assert flow.inverse(u[:0], context[:0]).shape == (0, 4)
    assert flow.log_prob(u[:0], context[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_bins": 1}, "n_bins=1"),
        ({"n_bins": 2000}, "n_bins=2000"),
        ({"tail_bound": 0.0}, "tail_bound"),
        ({"activation": "sine"}, "must be relu, silu"),
        ({"n_layers": 0}, "n_layers=0"),
    ],
)
def test_settings_that_make_no_flow(settings, message):
    with pytest.raises(UserError, match=message):
        NSF(**settings, latents=Latents(3), c_dim=2)
