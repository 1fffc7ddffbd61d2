"""The smallest case of manifold overfitting, whose numbers docs/why_two_steps.md quotes."""

import math

import pytest
import torch
from torch.distributions import Normal

from tests.conftest import ROOT


def test_a_thin_wrong_density_beats_a_wide_right_one():
    """E log q for x = (x1, 0), x1 ~ N(0, 1), by an integral over x1 and in closed form."""
    x1 = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    weight = Normal(0.0, 1.0).log_prob(x1).exp() * (x1[1] - x1[0])
    page = (ROOT / "docs/why_two_steps.md").read_text(encoding="utf-8")
    found = []
    for mean, width, thin in ((0.0, 1.0, 1e-2), (1.0, 2.0, 1e-3)):
        across = Normal(0.0, thin).log_prob(torch.tensor(0.0))
        score = float((weight * Normal(mean, width).log_prob(x1)).sum() + across)
        closed = -math.log(2 * math.pi) - math.log(width) - (1 + mean**2) / (2 * width**2)
        assert score == pytest.approx(closed - math.log(thin), abs=1e-6)
        assert f"{score:.3f}" in page
        found.append(score)
    assert found == pytest.approx([2.267, 4.127], abs=1e-3)
    divergence = math.log(2) + 2 / 8 - 0.5  # of N(0, 1) from N(1, 4)
    assert found[1] - found[0] == pytest.approx(math.log(10) - divergence, abs=1e-6)
