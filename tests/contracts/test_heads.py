"""Every option of conf/head is a distribution of voxels."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

from caloman_cli.errors import UserError
from caloman_cli.models.kinds import KINDS
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import (
    detector,
    detectors,
    make_head,
    options,
    served,
    share_rows,
    toy_for,
)

__all__ = ["detector"]


def prepared(option, geometry):
    made = make_head(option, geometry)
    made.prepare(TensorRows(*share_rows(geometry)))
    return made


@pytest.fixture(params=options("head"))
def option(request):
    return request.param


@pytest.fixture
def toy(option, tiny_geometry):
    return toy_for(option, tiny_geometry)


@pytest.fixture
def head(option, toy):
    return prepared(option, toy)


@pytest.mark.parametrize(("option", "detector"), served(), indirect=True)
def test_shapes_and_gradients(option, detector):
    head = prepared(option, detector)
    x, c = share_rows(detector)
    assert head.x_dim == x.shape[1]
    assert head.footprint > 0
    seen = head.features(x)
    assert seen.shape == (80, head.feature_dim)
    assert torch.isfinite(seen).all()
    raw = torch.randn(80, head.out_dim, requires_grad=True)
    params = head.params(raw, c)
    assert head.sample(params, Noise(0, 0, 80)).shape == head.mean(params).shape == x.shape
    log_prob = head.log_prob(params, x)
    assert log_prob.shape == (80,)
    log_prob.sum().backward()
    assert torch.isfinite(raw.grad).all()
    # A voxel that no shower lights has nothing to say about the energy of a lit one, and moments
    # are for decoders.
    said = raw.grad[:, : head.out_dim - head.moment_dim]
    assert float((said != 0).any(0).float().mean()) > 0.8


def test_means_are_differentiable(head, toy):
    _, c = share_rows(toy)
    raw = torch.randn(80, head.out_dim, requires_grad=True)
    head.mean(head.params(raw, c)).square().sum().backward()
    assert torch.isfinite(raw.grad).all()
    assert raw.grad.any()


def test_large_decoder_outputs_stay_finite(head, toy):
    x, c = share_rows(toy)
    params = head.params(torch.randn(80, head.out_dim) * 100, c)
    for value in (head.sample(params, Noise(0, 0, 80)), head.mean(params)):
        assert torch.isfinite(value).all()
    assert torch.isfinite(head.log_prob(params, x)).all()


def test_rows_have_their_own_noise(head, toy):
    _, c = share_rows(toy)
    raw = torch.randn(80, head.out_dim)
    whole = head.sample(head.params(raw, c), Noise(3, 0, 80))
    part = head.sample(head.params(raw[10:30], c[10:30]), Noise(3, 10, 20))
    torch.testing.assert_close(part, whole[10:30], rtol=1e-3, atol=1e-5)


def test_statistics_travel_and_conditions_do_not(head, option, toy):
    """The preprocessing owns the conditions: two copies in a file could disagree."""
    fresh = make_head(option, toy)
    fresh.load_state_dict(head.state_dict())
    assert not [name for name in head.state_dict() if "conditions" in name]
    x, c = share_rows(toy)
    raw = torch.randn(80, head.out_dim)
    assert torch.equal(
        fresh.log_prob(fresh.params(raw, c), x), head.log_prob(head.params(raw, c), x)
    )


@pytest.mark.parametrize("option", options("head"))
def test_every_head_serves_a_detector_of_the_tests(option, tiny_geometry):
    refusals = []
    for geometry in detectors(tiny_geometry).values():
        try:
            make_head(option, geometry)
        except UserError as error:
            refusals.append(error)
            # It names the head and the detector and says what to use.
            for word in (f"head={option}", geometry.name, "head=autoregressive"):
                assert word in str(error)  # noqa: PT017
    assert len(refusals) < len(detectors(tiny_geometry))


def test_it_says_what_its_density_is(head, toy):
    """``score`` where voxels are drawn otherwise than fitted; who draws none has no density."""
    assert head.kind in KINDS
    x, c = share_rows(toy)
    raw = torch.randn(80, head.out_dim)
    params = head.params(raw, c)
    point = torch.equal(head.sample(params, Noise(0, 0, 80)), head.mean(params))
    assert point == head.deterministic
    assert head.kind != "exact" or not point
    if head.kind != "none":
        assert head.log_density(params, x).shape == (80,)


def test_parameters_have_names_and_rows(head, toy):
    """One row a shower, so that a wrapper can take some of them."""
    _, c = share_rows(toy)
    params = head.params(torch.randn(80, head.out_dim), c)
    assert params._fields
    assert {len(part) for part in tree_leaves(params)} <= {1, 80}
