"""What draws of one halving have to be."""

import torch

DRAWS = 40_000
POINTS = 8001
FAR = 12.0  # of the portions' logits


def require_draws_of_density(halving, raw, energy):
    """The distribution function of draws of one patch against the integral of log_prob."""
    random = torch.rand(3, 1, DRAWS)
    random[2].logit_(1e-7)
    (at,) = halving.steps()
    patches = torch.full((1, DRAWS), energy)
    drawn = halving.draw(raw.expand(-1, -1, DRAWS), patches, random, at)
    first, second = drawn.double().chunk(2)
    both = (first > 0) & (second > 0)
    y = torch.linspace(-FAR, FAR, POINTS, dtype=torch.float64).unsqueeze(0)
    portion = 1.0 + torch.sigmoid(y) * (energy - 2.0)
    raw = raw.double().expand(-1, -1, POINTS)
    density = halving.double().log_prob(raw, portion, energy - portion)
    below = density.exp().cumsum(0) * (2 * FAR / (POINTS - 1))
    assert abs(float(below[-1]) - float(both.double().mean())) < 4 * 0.5 / DRAWS**0.5
    found = torch.log((first[both] - 1) / (second[both] - 1)).sort().values
    share = torch.arange(1, len(found) + 1) / len(found)
    at = torch.searchsorted(y[0], found).clamp(max=POINTS - 1)
    assert float((below[at] / below[-1] - share).abs().max()) < 1.9 / len(found) ** 0.5
