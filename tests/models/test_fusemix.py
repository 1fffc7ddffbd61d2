"""The study of FuseMix: pairs are found again, and mixtures help where pairs are few."""

import pytest
import torch

from scripts.studies import fusemix
from scripts.studies.fusemix import fused, recall, seen

PAIRS = 500


def pairs(seed: int) -> list[torch.Tensor]:
    """Two vectors of 20 that share a factor of five, with noise of their own, (2 PAIRS, 20)."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(2 * PAIRS, 5, generator=generator)
    mixings = torch.randn(2, 5, 20, generator=generator)
    return [
        torch.tanh(factor @ mixing) + 0.1 * torch.randn(2 * PAIRS, 20, generator=generator)
        for mixing in mixings
    ]


@pytest.mark.slow
def test_pairs_of_one_factor_are_found_again_and_better_with_mixtures(monkeypatch):
    """Fifty times as often as by chance; over five seeds mixtures do no worse."""
    monkeypatch.setattr(fusemix, "WIDTH", 128)
    found = {0.0: [], 1.0: []}
    for seed in range(5):
        a, b = pairs(seed)
        for alpha, scores in found.items():
            first, second = fused(a[:PAIRS], b[:PAIRS], alpha, 200, seed)
            scores.append(recall(first(a[PAIRS:]), second(b[PAIRS:]), PAIRS))
    assert min(found[1.0]) > 50 / PAIRS
    assert sum(found[1.0]) >= sum(found[0.0])


def test_recall_counts_what_is_most_alike():
    p = torch.eye(4)
    assert recall(p, p, 4) == 1
    assert recall(p, p[[1, 0, 2, 3]], 4) == 0.5


def test_both_meshes_see_the_same_shower():
    """Shares of a layer add up to one in either, and showers lean to the same side."""
    coarse, fine = next(seen(40))
    sides = []
    for roots, rings, slices in ((coarse, 9, 16), (fine, 18, 50)):
        shares = torch.from_numpy(roots).square().unflatten(1, (45, slices, rings))
        total = shares.sum((2, 3))
        lit = total > 0
        torch.testing.assert_close(total[lit], torch.ones(int(lit.sum())))
        angle = torch.arange(slices) * 2 * torch.pi / slices
        sides.append((shares.sum((1, 3)) @ torch.stack([angle.cos(), angle.sin()], 1)).flatten())
    assert torch.corrcoef(torch.stack(sides))[0, 1] > 0.8
