"""The density of boosted trees."""

import sys

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from caloman_cli.errors import UserError
from caloman_cli.models.densities import forest as forests
from caloman_cli.models.densities.forest import Forest
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.tree_targets import DiffusionTarget, FlowTarget
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import maker
from tests.contracts.test_trained import SIGMA, conditional_rows

CLASSES = {  # c -> mean, mixing
    0.0: (torch.tensor([-2.0, 1.0]), torch.tensor([[0.4, 0.0], [-0.3, 0.8]])),
    1.0: (torch.tensor([2.0, -1.0]), torch.tensor([[1.0, 0.5], [0.0, 0.5]])),
}
SMALL = {"times": 2, "copies": 2, "trees": 3}
ENERGIES = {"condition": "classes_only", "min_max": True}


def gaussians(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes of n/2 rows z (n, 2), told by c (n, 1)."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        torch.randn(n // 2, 2, generator=generator) @ mixing + mean
        for mean, mixing in CLASSES.values()
    ]
    return torch.cat(rows), torch.tensor([*CLASSES]).repeat_interleave(n // 2)[:, None]


def untrained(**settings) -> Forest:
    made: Forest = maker("density", "forest").func(**settings, latents=Latents(2), c_dim=1)
    return made


def grown(seed: int = 0, n: int = 4000, kept=None, **settings) -> Forest:
    torch.manual_seed(seed)
    forest = untrained(**settings)
    forest.kept = kept
    forest.prepare(TensorRows(*gaussians(n, 1)))
    return forest


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target": "vp", "times": 50, "copies": 10, "solver": "euler_maruyama"},
        # An ordinary equation carries along what signal is left at time 1: 0.13 with beta_max=8.
        {"target": "vp", "times": 25, "copies": 20, "beta_max": 16.0},
        {"condition": "classes_only", "min_max": True, "times": 20, "copies": 10},
    ],
    ids=["flow", "vp", "vp-ode", "classes"],
)
def test_two_gaussians_are_drawn_as_they_are(settings):
    """Mean to 0.05, covariance to 0.1, W1 as new draws have it to 0.05."""
    (truth, c), (again, _) = gaussians(8000, 2), gaussians(8000, 3)
    z, c = grown(**settings).sample(c, Noise(0, 0, 8000)), c[:, 0]
    for label, (mean, mixing) in CLASSES.items():
        mine = z[c == label]
        torch.testing.assert_close(mine.mean(0), mean, rtol=0, atol=0.05)
        torch.testing.assert_close(torch.cov(mine.T), mixing.T @ mixing, rtol=0, atol=0.1)
        for i in range(2):
            here = truth[c == label][:, i].numpy()
            apart = wasserstein_distance(mine[:, i].numpy(), here)
            assert apart < wasserstein_distance(again[c == label][:, i].numpy(), here) + 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "most"), [({}, 1.25), ({"times": 20, "depth": 7}, 1.1)], ids=["default", "finer"]
)
def test_what_the_condition_moves_by_ten_widths_comes_out_wide(settings, most):
    """z | c ~ N(c, 0.1^2 R): splits along z_t and c make steps of a ridge that is oblique."""
    torch.manual_seed(0)
    forest: Forest = maker("density", "forest").func(**settings, latents=Latents(2), c_dim=2)
    forest.prepare(TensorRows(*conditional_rows(5000)))
    _, c = conditional_rows(20_000)
    apart = forest.sample(c, Noise(0, 0, len(c))) - c
    widths = apart.std(0) / SIGMA
    assert (widths > 0.95).all() and (widths < most).all()
    assert apart.mean(0).abs().max() < 0.1 * SIGMA


@pytest.mark.parametrize("solver", ["heun", "euler", "euler_maruyama"])
def test_a_diffusion_told_the_mean_noise_draws_its_gaussian(solver):
    """N(m, s): the mean of the noise in x_t is sigma (x - alpha m) / (alpha^2 s^2 + sigma^2)."""
    mean, width, path = 0.4, 0.5, DiffusionTarget(200, solver, (0.1, 8.0), 1e-3)

    def asked(i, x):
        signal, sigma = path.signal[i], path.sigma[i]
        return sigma * (x - signal * mean) / (signal**2 * width**2 + sigma**2)

    noise = Noise(0, 0, 40_000)
    drawn = path.draw(noise.normal(1).numpy(), asked, noise)
    # At time 1 there is still a share of 0.13 of the signal, which the draws begin without.
    assert drawn.mean() == pytest.approx(mean, abs=0.03)
    assert drawn.std() == pytest.approx(width, abs=0.01)


@pytest.mark.parametrize("solver", ["heun", "euler"])
def test_a_flow_told_the_mean_velocity_draws_its_gaussian(solver):
    mean, width, path = 0.4, 0.5, FlowTarget(100, solver)

    def asked(i, x):
        t = i / 100
        centred = (x - t * mean) / ((1 - t) ** 2 + (t * width) ** 2)
        return mean + (t * width**2 - (1 - t)) * centred

    drawn = path.draw(Noise(0, 0, 40_000).normal(1).numpy(), asked, Noise(1, 0, 40_000))
    assert drawn.mean() == pytest.approx(mean, abs=0.01)
    assert drawn.std() == pytest.approx(width, abs=0.01)


@pytest.mark.parametrize(
    "path", [FlowTarget(4, "heun"), DiffusionTarget(4, "heun", (0.1, 8.0), 1e-3)]
)
def test_where_a_sample_came_from_lies_within_the_training_latents(path):
    """What is said of x is what mixes to it, exactly, once the data are within the range."""
    rng = np.random.default_rng(0)
    x1, x0 = rng.normal(size=(2, 50, 3)).astype("f4")
    for i in range(path.times):
        x = path.mixed(i, x1, x0)
        said = path.within(i, x, path.wanted(x1, x0), np.full(3, -0.5), np.full(3, 0.5))
        noise = (x - path.mixed(i, x1.clip(-0.5, 0.5), 0 * x0)) / path.mixed(i, 0 * x0, 0 * x0 + 1)
        np.testing.assert_allclose(said, path.wanted(x1.clip(-0.5, 0.5), noise), atol=1e-4)


def test_heuns_last_step_takes_latents_themselves_for_the_velocity():
    """From x with velocity 2 at t = 0 to (x + 2), whose velocity at t = 1 is itself."""
    drawn = FlowTarget(1, "heun").draw(np.ones((3, 2), "f4"), lambda i, x: 2 * x, Noise(0, 0, 3))
    np.testing.assert_array_equal(drawn, 1 + (2 + 3) / 2)


def test_the_log_says_how_many_trees_there_are(caplog):
    with caplog.at_level("INFO"):
        grown(n=100, **SMALL)
    assert caplog.messages == ["density=forest: 2 ensembles, 6 rounds of trees"]


def test_the_seed_makes_the_trees_and_another_one_makes_others():
    first, again, other = (grown(seed, 200, **SMALL) for seed in (0, 0, 1))
    c = gaussians(40, 0)[1]
    drawn = [forest.sample(c, Noise(5, 0, 40)) for forest in (first, again, other)]
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])


@pytest.mark.parametrize("condition", ["columns", "classes"])
def test_a_training_that_was_cut_goes_on_behind_the_trees_it_has(tmp_path, monkeypatch, condition):
    settings = {**SMALL, "times": 3, "condition": condition}
    whole, grow, calls = grown(0, 200, **settings).get_extra_state(), forests.grow, []

    def counted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return grow(*args)

    monkeypatch.setattr(forests, "grow", counted)
    with pytest.raises(KeyboardInterrupt):
        grown(0, 200, kept=tmp_path, **settings)
    resumed = grown(0, 200, kept=tmp_path, **settings)
    assert resumed.get_extra_state() == whole
    assert len(calls) == 1 + sum(map(len, resumed.boosters))  # the third was begun twice
    grown(0, 202, kept=tmp_path, **settings)  # other rows: nothing is taken over
    assert len(calls) == 1 + 2 * sum(map(len, resumed.boosters))


def test_xgboost_sees_the_same_copies_whenever_it_reads_them(monkeypatch):
    grow, seen = forests.grow, {}

    def recorded(xgboost, rows, *rest):
        def watched(copy):
            made = rows(copy)
            seen.setdefault(copy, []).append(made[0].copy())
            return made

        return grow(xgboost, watched, *rest)

    monkeypatch.setattr(forests, "grow", recorded)
    grown(0, 200, **{**SMALL, "times": 1})
    assert len(seen) == SMALL["copies"] and not np.array_equal(seen[0][0], seen[1][0])
    for reads in seen.values():
        assert len(reads) > 1
        assert all(np.array_equal(read, reads[0]) for read in reads)


def test_classes_have_trees_and_scales_of_their_own():
    forest = grown(0, 400, **SMALL, **ENERGIES)
    z, c = gaussians(400, 1)
    assert forest.classes.energies.tolist() == [0.0, 1.0] and len(forest.boosters[0]) == 2
    u = forest.scaler(z)[0].numpy()
    inside = forest.classes.into(u, c[:, 0].long().numpy())
    for label in (0, 1):
        mine = inside[c[:, 0] == label]
        np.testing.assert_allclose([mine.min(0), mine.max(0)], [[-1, -1], [1, 1]], atol=1e-6)
    again = untrained(**SMALL, **ENERGIES)
    again.load_state_dict(forest.state_dict())
    drawn = [model.sample(c, Noise(0, 0, 400)) for model in (forest, again)]
    assert drawn[0].equal(drawn[1])
    assert drawn[0][:200, 0].mean() < -1 and drawn[0][200:, 0].mean() > 1
    with pytest.raises(UserError, match="has trees for the 2 energies that it learned from"):
        forest.sample(torch.full((3, 1), 0.5), Noise(0, 0, 3))


def test_classes_want_few_energies():
    forest = untrained(**SMALL, condition="classes")
    z = torch.randn(300, 2)
    with pytest.raises(UserError, match=r"there are 300, more than 100: give density\.condition"):
        forest.prepare(TensorRows(z, torch.arange(300.0)[:, None]))
    with pytest.raises(UserError, match="needs the energy among the conditions"):
        Forest(condition="classes", latents=Latents(2), c_dim=0)


def test_patience_ends_an_ensemble_that_no_longer_gets_better():
    """So on rows that it has not seen it does better."""
    settings = {"times": 2, "copies": 2, "trees": 60, "rate": 0.5}
    whole, patient = grown(0, 200, **settings), grown(0, 200, **settings, patience=3)
    assert {booster.num_boosted_rounds() for (booster,) in whole.boosters} == {60}
    assert max(booster.num_boosted_rounds() for (booster,) in patient.boosters) < 60
    assert patient.loss(gaussians(400, 2)) < whole.loss(gaussians(400, 2))


def test_joint_trees_say_all_dimensions_at_once():
    settings = {**SMALL, "times": 1}
    alone, joint = grown(0, 200, **settings), grown(0, 200, **settings, joint=True)
    trees = [len(forest.boosters[0][0].get_dump()) for forest in (alone, joint)]
    assert trees == [2 * 3, 3]
    assert joint.sample(gaussians(8, 0)[1], Noise(0, 0, 8)).shape == (8, 2)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(UserError, match=r"density=forest needs .*pip install 'caloman\[forest\]'"):
        untrained()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"subsample": 1.5}, r"density\.subsample=1\.5"),
        ({"solver": "euler_maruyama"}, r"solves density\.target=vp only: give solver=heun"),
    ],
)
def test_what_does_not_fit_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        untrained(**settings)
