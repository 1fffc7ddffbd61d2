"""The density of boosted trees."""

import sys

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from caloman_cli.errors import UserError
from caloman_cli.models.densities.forest import Forest
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import maker

CLASSES = {  # c -> mean, mixing
    0.0: (torch.tensor([-2.0, 1.0]), torch.tensor([[0.4, 0.0], [-0.3, 0.8]])),
    1.0: (torch.tensor([2.0, -1.0]), torch.tensor([[1.0, 0.5], [0.0, 0.5]])),
}


def gaussians(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes of n/2 rows z (n, 2), told by c (n, 1)."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        torch.randn(n // 2, 2, generator=generator) @ mixing + mean
        for mean, mixing in CLASSES.values()
    ]
    return torch.cat(rows), torch.tensor([*CLASSES]).repeat_interleave(n // 2)[:, None]


def grown(seed: int = 0, n: int = 4000, **settings) -> Forest:
    torch.manual_seed(seed)
    forest: Forest = maker("density", "forest").func(**settings, latents=Latents(2), c_dim=1)
    forest.prepare(TensorRows(*gaussians(n, 1)))
    return forest


@pytest.mark.slow
def test_two_gaussians_are_drawn_as_they_are():
    """Mean to 0.05, covariance to 0.1, W1 as new draws have it to 0.05."""
    z, c = grown().sample(gaussians(8000, 0)[1], Noise(0, 0, 8000)), gaussians(8000, 0)[1][:, 0]
    truth, again = gaussians(8000, 2)[0], gaussians(8000, 3)[0]
    for label, (mean, mixing) in CLASSES.items():
        mine = z[c == label]
        torch.testing.assert_close(mine.mean(0), mean, rtol=0, atol=0.05)
        torch.testing.assert_close(torch.cov(mine.T), mixing.T @ mixing, rtol=0, atol=0.1)
        for i in range(2):
            here = truth[c == label][:, i].numpy()
            apart = wasserstein_distance(mine[:, i].numpy(), here)
            assert apart < wasserstein_distance(again[c == label][:, i].numpy(), here) + 0.05


def test_the_seed_makes_the_trees_and_another_one_makes_others():
    small = {"times": 2, "copies": 2, "trees": 3}
    first, again, other = (grown(seed, 200, **small) for seed in (0, 0, 1))
    c = gaussians(40, 0)[1]
    drawn = [forest.sample(c, Noise(5, 0, 40)) for forest in (first, again, other)]
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])


def test_heuns_last_step_takes_latents_themselves_for_the_velocity():
    forest = grown(0, 200, times=1, copies=2, trees=3)
    u, c = np.random.default_rng(0).normal(size=(7, 2)).astype("f4"), np.zeros((7, 1), "f4")
    np.testing.assert_array_equal(forest._velocity(1, u, c), u)
    assert not np.array_equal(forest._velocity(0, u, c), u)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(UserError, match=r"density=forest needs .*pip install 'caloman\[forest\]'"):
        maker("density", "forest")(latents=Latents(2), c_dim=1)


def test_a_share_is_not_more_than_one():
    with pytest.raises(UserError, match=r"density\.subsample=1\.5"):
        Forest(subsample=1.5, latents=Latents(2), c_dim=1)
