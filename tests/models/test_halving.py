"""Halvings at the edges of what can be drawn."""

import torch

from caloman_cli.models.heads.halving import PlacedHalving, n_raw
from tests.models.halvings import require_draws_of_density


def test_energy_is_kept_where_probabilities_are_rounded():
    """Numbers on the edge between two cases, as of one in some ten million showers."""
    torch.manual_seed(0)
    n, patches = 20_000, 5
    halving = PlacedHalving([patches], 3)
    raw = torch.randn(n_raw(3), patches, n)
    raw[2, ::2] = -25.0  # both halves: hardly ever
    energy = torch.tensor([0.0, 1.0, 1.7, 2.0, 300.0]).unsqueeze(1).expand(patches, n)
    (at,) = halving.steps()
    p = halving.probabilities(raw, energy, at)
    below = torch.nextafter(p[0], torch.zeros(()))
    for edge in (p[0], below, 1.0 - p[1], torch.nextafter(1.0 - p[1], torch.zeros(()))):
        random = torch.rand(3, patches, n)
        random[0] = edge.clamp(1e-9, 1 - 1e-7)
        random[2].logit_(1e-7)
        first, second = halving.draw(raw, energy, random, at).chunk(2)
        torch.testing.assert_close(first + second, energy, rtol=1e-5, atol=0)
        for half in (first, second):
            assert ((half == 0) | (half >= 1.0)).all()


def test_portions_are_drawn_from_their_density():
    torch.manual_seed(1)
    require_draws_of_density(PlacedHalving([1], 3), torch.randn(n_raw(3), 1, 1), 300.0)
