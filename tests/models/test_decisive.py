"""What every encoder and density is to show on a case with a known answer, found by globbing.

A model whose own tests show it says so in ``ELSEWHERE``; each new one is asked here.
"""

from functools import cache

import pytest
import torch
from scipy.stats import kstest

from caloman_cli.models.densities.base import Density
from caloman_cli.models.encoders.ae import AE
from caloman_cli.models.encoders.vae import VAE
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.conftest import ROOT
from tests.contracts.groups import build_density, flat, made, maker, options, small
from tests.models.adversarial import fit

Tensor = torch.Tensor
normal = torch.distributions.MultivariateNormal

ELSEWHERE = {
    "encoder": {
        "wae": "tests/models/test_adversarial.py",
        "bigan": "tests/models/test_adversarial.py",
        "avb": "tests/models/test_adversarial.py",
        "rae": "tests/models/test_rae.py",
        "rnf": "tests/models/test_rnf.py",
        "vqvae": "tests/models/test_vqvae.py",
        "implicit": "tests/models/test_implicit.py",
        "none": "tests/models/test_no_latents.py",
    },
    "density": {
        "vae": "tests/models/test_latent_variables.py",
        "avb": "tests/models/test_latent_variables.py",
        "gmm": "tests/models/test_gmm.py",
        "tr0n": "tests/models/test_tr0n.py",
        "forest": "tests/models/test_forest.py",
        "diffusion": "tests/contracts/test_trained.py",
        "arm": "tests/models/test_autoregressive.py",
        "transformer": "tests/models/test_autoregressive.py",
        "clustered": "tests/models/test_clustered.py",
        "levels": "tests/models/test_levels.py",
        "unconditional": "tests/models/test_tr0n.py",
    },
}
# Rec/Var that is left of five dimensions.
SHARES = {"ae": 1e-4, "pca": 1e-4}
# How a density is made and trained: settings, steps, learning rate.
BUDGETS: dict[str, tuple[dict, int, float]] = {
    "nsf": ({"n_layers": 3, "hidden": 32, "n_bins": 8, "n_blocks": 1}, 700, 1e-2),
    "maf": ({"n_layers": 3, "hidden": 64, "n_blocks": 2}, 700, 1e-2),
    "flow_matching": ({"hidden": 64, "n_blocks": 2, "steps": 24}, 1500, 5e-3),
    "caloman_nsf": ({"hidden": 64, "n_layers": 4}, 1200, 3e-3),
}
USUAL: tuple[dict, int, float] = ({}, 1500, 5e-3)
# Share of draws more than ten widths away, at most. The published splines end at -1 and 1, where
# only linear layers go on: a third of normal numbers begin beyond, and some stay far out.
FAR = {"caloman_nsf": 0.1}


def asked(group: str) -> list[str]:
    """The options that are tested here."""
    return [name for name in options(group) if name not in ELSEWHERE[group]]


def latent_encoders() -> list[str]:
    """Those that learn a number of real latents."""
    return [name for name in asked("encoder") if "latent_dim" in small("encoder", name)]


def densities() -> list[str]:
    """Those that learn and say log p of real latents."""
    found = []
    for name in asked("density"):
        density = build_density(name)
        learns = bool(list(density.parameters()))
        if learns and density.latents.kind == "real" and density.kind in ("exact", "estimate"):
            found.append(name)
    return found


@pytest.mark.parametrize("group", ELSEWHERE)
def test_what_is_tested_elsewhere_is(group):
    for name, path in ELSEWHERE[group].items():
        assert name in options(group)
        words = maker(group, name).func.__name__
        assert words.lower() in (ROOT / path).read_text(encoding="utf-8").lower()


def linear_rows(n: int, x_dim: int, rank: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """x = A z + noise, of variance one in the mean, and no condition."""
    x = torch.randn(n, rank) @ (torch.linspace(2, 1, rank)[:, None] * torch.randn(rank, x_dim))
    x = x / x.std()
    return x + noise * torch.randn_like(x), torch.zeros(n, 1)


def left_over(model, x: Tensor, c: Tensor) -> float:
    with torch.no_grad():
        return float(model.reconstruction_error(x, c).mean() / x.var(0).sum())


@pytest.mark.slow
@pytest.mark.parametrize("name", latent_encoders())
def test_five_dimensions_in_368_are_found(name):
    torch.manual_seed(0)
    x, c = linear_rows(4000, 368, 5)
    cfg = small("encoder", name)
    cfg.latent_dim = 5
    # A norm would take out how large a shower is, which is one of the five.
    plain = {"hidden": [64], "layer_norm": False, "free_bits": 0.0, "kl_warmup": 0}
    for key, value in plain.items():
        if key in cfg:
            cfg[key] = value
    if SHARES.get(name) and "hidden" in cfg:
        cfg.hidden = []
    head = Gaussian("fixed", value=0.1, **flat(368))
    model = made("encoder", name, cfg)(x_dim=368, c_dim=1, head=head)
    if list(model.parameters()):
        fit(model, (x, c), 1200, 3e-3)
    else:
        model.prepare(TensorRows(x, c))
    assert left_over(model, x, c) < SHARES.get(name, 1e-2)


@pytest.mark.slow
def test_a_linear_autoencoder_leaves_the_eigenvalue_that_it_has_no_room_for():
    torch.manual_seed(0)
    x, c = linear_rows(4000, 368, 5)
    sizes = {"x_dim": 368, "c_dim": 1, "head": Gaussian("fixed", value=1.0, **flat(368))}
    model = fit(AE(4, (), conditional=False, **sizes), (x, c), 1500, 3e-3)
    values = torch.linalg.eigvalsh(torch.cov(x.T.double()))
    share = float(values[-5] / values.sum())
    assert left_over(model, x, c) == pytest.approx(share, rel=0.05)


@pytest.mark.slow
def test_a_linear_variational_autoencoder_reaches_the_evidence():
    """Of x = A z + s n within 0.05 nats a dimension; 64 draws bound it no worse than one."""
    torch.manual_seed(0)
    a = torch.randn(5, 20)
    x, c = torch.randn(20_000, 5) @ a + 0.5 * torch.randn(20_000, 20), torch.zeros(20_000, 1)
    evidence = normal(torch.zeros(20), a.T @ a + 0.25 * torch.eye(20)).log_prob(x[:4000]).mean()
    sizes = {"x_dim": 20, "c_dim": 1, "head": Gaussian("shower", **flat(20))}
    model = fit(VAE(5, (), conditional=False, **sizes), (x, c), 2500, 1e-2)
    with torch.no_grad():
        bound = -model.loss((x[:4000], c[:4000]))
        model.samples = 64
        better = -model.loss((x[:4000], c[:4000]))
    assert -0.01 < float(evidence - bound) / 20 < 0.05
    assert bound <= better < evidence + 0.2


def rows_that_follow(n: int) -> tuple[Tensor, Tensor]:
    """z | c ~ N(c, 0.1^2)."""
    c = torch.randn(n, 2)
    return c + 0.1 * torch.randn(n, 2), c


MIXING = torch.linalg.cholesky(
    torch.tensor(
        [[1.0, 0.7, 0.0, -0.3], [0.7, 1.5, 0.2, 0.0], [0.0, 0.2, 0.5, 0.3], [-0.3, 0.0, 0.3, 1.0]]
    )
)


def learned(name: str, z: Tensor, c: Tensor) -> Density:
    torch.manual_seed(0)
    settings, steps, rate = BUDGETS.get(name, USUAL)
    density: Density = build_density(name, z.shape[1], c.shape[1], **settings)
    fit(density, (z, c), steps, rate)
    return density


@cache
@torch.enable_grad()
def of_the_condition(name: str) -> Density:
    torch.manual_seed(1)
    return learned(name, *rows_that_follow(20_000))


@pytest.mark.slow
@pytest.mark.parametrize("name", densities())
def test_likelihood_of_a_correlated_gaussian(name):
    """Within 0.03 nats a dimension of rows not seen, and not above it."""
    torch.manual_seed(2)
    z = torch.randn(24_000, 4) @ MIXING.T
    density = learned(name, z[:20_000], z[:20_000, :0])
    z = z[20_000:]
    with torch.no_grad():
        found = density.log_prob(z, z[:, :0])
    excess = float((normal(torch.zeros(4), scale_tril=MIXING).log_prob(z) - found).mean()) / 4
    assert -0.005 < excess < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("name", densities())
def test_latents_follow_the_condition(name):
    """The slope of E[z | c] is 1 within 0.02, the width 0.1 within 10 %."""
    torch.manual_seed(3)
    _, c = rows_that_follow(20_000)
    with torch.no_grad():
        z = of_the_condition(name).sample(c, Noise(1, 0, len(c)))
    far = ((z - c).abs() > 1.0).any(1)
    assert float(far.float().mean()) < FAR.get(name, 1e-3)
    z, c = z[~far], c[~far]
    slope = (z * c).sum(0) / c.square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=0.02)
    torch.testing.assert_close((z - c).std(0) / 0.1, torch.ones(2), rtol=0.1, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", densities())
def test_draws_have_the_distribution_that_log_prob_says(name):
    """At one condition: the share in a square is its integral, the first latent's values uniform.

    Of these values of the distribution function the grid of both latents is summed.
    """
    density, c, cell = of_the_condition(name), torch.tensor([[0.7, -0.4]]), 0.02
    axis = torch.linspace(-0.8, 0.8, 81)
    grid = torch.cartesian_prod(axis, axis) + c
    with torch.no_grad():
        mass = density.log_prob(grid, c.expand(len(grid), -1)).double().exp().view(81, 81)
        z = density.sample(c.expand(4000, -1), Noise(1, 0, 4000)) - c
    inside = (z.abs() < axis[-1]).all(1)
    share = float(mass.sum()) * cell**2
    assert share == pytest.approx(float(inside.float().mean()), abs=0.03)
    # Of cells around the points of the grid, up to their right ends.
    below = torch.cat([torch.zeros(1), mass.sum(1).cumsum(0) / mass.sum()])
    place = (z[inside][:, 0] - axis[0]) / cell + 0.5
    low = place.long().clamp(0, 80)
    value = torch.lerp(below[low], below[low + 1], (place - low).to(below))
    assert kstest(value.numpy(), "uniform").pvalue > 0.01
