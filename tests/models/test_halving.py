"""Halvings at the edges of what can be drawn."""

import torch

from caloman_cli.models.heads.halving import PlacedHalving, n_raw


def test_energy_is_kept_where_probabilities_are_rounded():
    """Numbers on the edge between two cases, as of one in some ten million showers."""
    torch.manual_seed(0)
    n, patches = 20_000, 5
    halving = PlacedHalving([patches], 3)
    raw = torch.randn(n_raw(3), patches, n)
    raw[2, ::2] = -25.0  # both halves: hardly ever
    energy = torch.tensor([0.0, 1.0, 1.7, 2.0, 300.0]).unsqueeze(1).expand(patches, n)
    (at,) = halving.steps()
    p = torch.softmax(halving._cases(raw[:3], energy, (energy < 2.0).float(), at), 0)
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
    """The distribution function of draws against the integral of log_prob, case by case."""
    torch.manual_seed(1)
    halving, n = PlacedHalving([1], 3), 40_000
    raw = torch.randn(n_raw(3), 1, 1)
    random = torch.rand(3, 1, n)
    random[2].logit_(1e-7)
    energy = torch.full((1, n), 300.0)
    (at,) = halving.steps()
    drawn = halving.draw(raw.expand(-1, -1, n), energy, random, at)
    first, second = drawn.double().chunk(2)
    both = (first > 0) & (second > 0)
    y = torch.linspace(-12.0, 12.0, 4001, dtype=torch.float64).unsqueeze(0)
    portion = 1.0 + torch.sigmoid(y) * 298.0
    density = halving.double().log_prob(raw.double().expand(-1, -1, 4001), portion, 300 - portion)
    below = density.exp().cumsum(0) * (24.0 / 4000)
    assert abs(float(below[-1]) - float(both.double().mean())) < 4 * 0.5 / n**0.5
    found = torch.log((first[both] - 1) / (second[both] - 1)).sort().values
    share = torch.arange(1, len(found) + 1) / len(found)
    at = torch.searchsorted(y[0], found).clamp(max=4000)
    assert float((below[at] / below[-1] - share).abs().max()) < 1.9 / len(found) ** 0.5
