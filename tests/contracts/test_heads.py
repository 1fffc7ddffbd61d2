"""Every option of conf/head is a distribution of voxels."""

import pytest
import torch

from caloman_cli.noise import Noise
from tests.contracts.groups import maker, options


@pytest.fixture(params=options("head"))
def head(request):
    return maker("head", request.param)(x_dim=12)


def test_shapes_and_gradients(head):
    raw = torch.randn(9, head.out_dim, requires_grad=True)
    params = head.params(raw)
    drawn, x = head.sample(params, Noise(0, 0, 9)), torch.rand(9, 12)
    assert drawn.shape == head.mean(params).shape == (9, 12)
    log_prob = head.log_prob(params, x)
    assert log_prob.shape == (9,)
    log_prob.sum().backward()
    assert (raw.grad != 0).any(0).all()


def test_large_decoder_outputs_stay_finite(head):
    params = head.params(torch.randn(9, head.out_dim) * 100)
    assert torch.isfinite(head.sample(params, Noise(0, 0, 9))).all()
    assert torch.isfinite(head.log_prob(params, torch.rand(9, 12))).all()


def test_rows_have_their_own_noise(head):
    raw = torch.randn(40, head.out_dim)
    whole = head.sample(head.params(raw), Noise(3, 0, 40))
    part = head.sample(head.params(raw[10:30]), Noise(3, 10, 20))
    torch.testing.assert_close(part, whole[10:30])
