"""Every density in conf/density keeps the contract of a density."""

import math

import pytest
import torch

from caloman_cli.config.options import option_of
from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Density
from caloman_cli.models.kinds import KINDS
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import build_density as build
from tests.contracts.groups import maker, options, toys

OPTIONS = [*options("density"), *toys("density")]
# What has no density, or no scale, is not asked for it.
MADE = {name: build(name) for name in OPTIONS}
SAID = [name for name, made in MADE.items() if made.kind != "none"]
REAL = [name for name, made in MADE.items() if made.latents.kind == "real"]
LEARNED = [name for name, made in MADE.items() if list(made.parameters())]


def prepared(
    name: str, scale: float = 1.0, **settings
) -> tuple[Density, torch.Tensor, torch.Tensor]:
    """A density with weights away from their start, and the rows it was prepared with."""
    torch.manual_seed(1)
    density = build(name, **settings)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    z, c = 2 + torch.randn(200, 4) @ torch.randn(4, 4), torch.randn(200, 3)
    z = rows_of(density, scale * z)
    density.prepare(TensorRows(z, c))
    return density.eval(), z, c


def rows_of(density: Density, z: torch.Tensor) -> torch.Tensor:
    """Latents as the density learns them: numbers, or the codes that these are made."""
    n_codes = density.latents.n_codes
    return z if n_codes is None else z.round().long().remainder(n_codes).to(z)


@pytest.mark.parametrize("name", OPTIONS)
def test_shapes(name):
    density, z, c = prepared(name)
    with torch.no_grad():
        drawn = density.sample(c, Noise(0, 0, len(c)))
    assert drawn.shape == z.shape
    assert torch.isfinite(drawn).all()
    assert density.kind in KINDS
    assert density.loss((z, c)).shape == ()
    if density.latents.n_codes is not None:
        assert set(drawn.unique().tolist()) <= set(range(density.latents.n_codes))


@pytest.mark.parametrize("name", SAID)
def test_log_prob_is_a_number_of_each_row(name):
    density, z, c = prepared(name)
    with torch.no_grad():
        log_prob = density.log_prob(z, c)
    assert log_prob.shape == (len(z),)
    assert torch.isfinite(log_prob).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_it_refuses_latents_that_it_does_not_learn(name):
    """In one line that names both and says what to use."""
    accepts = MADE[name].accepts
    for latents in (Latents(3, encoder="Mine"), Latents(3, "codes", 7, encoder="Mine")):
        if latents.kind in accepts:
            continue
        with pytest.raises(UserError) as refused:
            maker("density", name)(latents=latents, c_dim=1)
        called = option_of("density", MADE[name])
        for word in (f"density={called} learns", "encoder=Mine", "use a density"):
            assert word in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("z_dim", "c_dim"), [(1, 3), (1, 0), (3, 0)])
def test_one_dimension_and_no_condition(name, z_dim, c_dim):
    density = build(name, z_dim, c_dim)
    z, c = rows_of(density, torch.randn(50, z_dim)), torch.randn(50, c_dim)
    density.prepare(TensorRows(z, c))
    with torch.no_grad():
        assert density.eval().sample(c, Noise(0, 0, 50)).shape == (50, z_dim)
        if name in SAID:
            assert torch.isfinite(density.log_prob(z, c)).all()


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_reach_all_parameters(name):
    density, z, c = prepared(name)
    for player in density.train().players:
        density.loss((z, c), player).backward()
    idle = [
        key
        for key, parameter in density.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert idle == []


@pytest.mark.parametrize("name", OPTIONS)
def test_saved_and_loaded_is_the_same(name, tmp_path):
    density, z, c = prepared(name)
    torch.save(density.state_dict(), tmp_path / "density.pt")
    fresh = build(name).eval()
    fresh.load_state_dict(torch.load(tmp_path / "density.pt", weights_only=True))
    with torch.no_grad():
        assert fresh.sample(c, Noise(5, 0, 200)).equal(density.sample(c, Noise(5, 0, 200)))
        if name in SAID:
            assert fresh.log_prob(z, c).equal(density.log_prob(z, c))


@pytest.mark.parametrize("name", OPTIONS)
def test_any_batching_draws_the_same_rows(name):
    density, _, c = prepared(name)
    with torch.no_grad():
        whole = density.sample(c, Noise(3, 0, 200))
        parts = [
            density.sample(c[i : i + 70], Noise(3, i, len(c[i : i + 70]))) for i in (0, 70, 140)
        ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OPTIONS)
def test_it_samples_in_inference_mode(name):
    """As showers are drawn; what needs gradients says so."""
    density, _, c = prepared(name)
    with torch.inference_mode():
        drawn = density.sample(c.clone(), Noise(3, 0, 200))
    assert not drawn.requires_grad
    with torch.no_grad():
        assert drawn.equal(density.sample(c, Noise(3, 0, 200)))


@pytest.mark.parametrize("name", OPTIONS)
def test_sampling_leaves_the_global_generator_alone(name):
    density, _, c = prepared(name)
    before = torch.get_rng_state()
    with torch.no_grad():
        density.sample(c, Noise(3, 0, 200))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("name", OPTIONS)
def test_scores_are_the_same_every_time(name):
    """Noise in the validation score would choose the lucky epoch."""
    density, z, c = prepared(name)
    with torch.no_grad():
        first, second = density.scores((z, c)), density.scores((z, c))
    assert first["loss"].equal(second["loss"])


@pytest.mark.parametrize("name", [n for n in OPTIONS if n in REAL and n in SAID and n in LEARNED])
def test_units_of_the_latents_only_shift_the_log_density(name):
    """p(10 z) d(10 z) = p(z) dz: a scaler without its log-determinant fails here."""
    density, z, c = prepared(name)
    scaled, _, _ = prepared(name, scale=10.0)
    with torch.no_grad():
        difference = scaled.log_prob(10 * z, c) - density.log_prob(z, c)
        drawn, scaled_drawn = (d.sample(c, Noise(0, 0, 200)) for d in (density, scaled))
    # On a manifold in latent space the volume is another one, and the constant is not known.
    shift = -4 * math.log(10) if density.latents.constraint is None else float(difference[0])
    torch.testing.assert_close(difference, torch.full((len(z),), shift), rtol=0, atol=2e-3)
    torch.testing.assert_close(scaled_drawn, 10 * drawn, rtol=1e-3, atol=1e-3)
