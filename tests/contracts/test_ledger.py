"""A ledger can be made of every encoder: of points, posteriors, draws and codes."""

import numpy as np
import pytest
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.carried import as_learned, carried
from caloman_cli.evaluation.components.ledger.metric import _carried_scores
from caloman_cli.evaluation.replaced import Replacement
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.orientation import Orientation
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import TwoStep
from tests.contracts.groups import showers, toy_for
from tests.contracts.pairs import PAIRS, THIN, WALK, density_for, slow_unless
from tests.contracts.test_encoders import built

CPU = torch.device("cpu")
SOME = np.array([1, 2, 5, 9, 17])


def made(encoder, head, geometry) -> tuple[TwoStep, Showers]:
    """A model whose networks are as they were born, and real showers."""
    torch.manual_seed(0)
    groups = {"preprocess": "shares", "energy": "nsf", "encoder": encoder, "head": head}
    model = built({**groups, "density": density_for(encoder, head)}, geometry)
    voxels, e_inc = showers(geometry)
    model.preprocess.fit(TensorRows(voxels, e_inc))
    x, c = model.preprocess(voxels, e_inc)
    model.energy.prepare(TensorRows(model.preprocess.context(voxels, e_inc).layers, e_inc))
    model.encoder.prepare(TensorRows(x, c))
    return model, Showers.from_arrays(e_inc.numpy(), voxels.numpy(), geometry)


def drawn(model, real):
    """The model's own showers of some rows."""
    e_inc = torch.as_tensor(real.energies, dtype=torch.float32)
    return model.sample(e_inc, Noise(3, 0, len(e_inc))).numpy()[SOME]


@pytest.mark.parametrize("pair", slow_unless(THIN | {("vae", WALK), ("ae", WALK)}, PAIRS))
def test_every_encoder_has_a_ledger(pair, tiny_geometry):
    model, real = made(*pair, toy_for(pair[1], tiny_geometry))
    encoder, state = model.encoder, torch.get_rng_state()
    rows = carried(model, real, CPU, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert rows.z.shape == rows.mean.shape == (len(real), encoder.latent_dim)
    assert rows.active.shape == (encoder.latent_dim,)
    assert 0 <= rows.active_learned <= encoder.n_learned
    assert np.isfinite(rows.z).all()
    has = not encoder.only_draws and encoder.posterior(*model.preprocess(
        *(torch.as_tensor(part, dtype=torch.float32) for part in reversed(real.read(0, 2)))
    )).has_density  # fmt: skip
    assert (rows.nats is not None) == has
    # Codes are a density's own numbers, too: what they are worth is known.
    assert (rows.over is not None) == (has or rows.n_codes is not None)
    assert np.isfinite(rows.over if rows.over is not None else 0.0).all()
    replacement = Replacement(model, real.energies, 3)
    for way in ("independent", "mean"):
        _, voxels = replacement.showers(way, real, SOME).read(0, len(SOME))
        assert np.isfinite(voxels).all()
        assert (voxels >= 0).all()
    if rows.n_codes is not None:
        assert set(replacement.typical().tolist()) <= set(range(rows.n_codes))


def test_a_head_that_does_not_listen_loses_nothing(tiny_geometry):
    """All other random numbers are as they were; rounding depends on how many rows are drawn."""
    model, real = made("none", "hurdle_mixture", tiny_geometry)
    replacement = Replacement(model, real.energies, 3)
    for way in ("independent", "mean"):
        _, voxels = replacement.showers(way, real, SOME).read(0, len(SOME))
        np.testing.assert_allclose(voxels, drawn(model, real), rtol=1e-4, atol=1e-3)


def test_a_head_that_listens_hears_other_latents(tiny_geometry):
    model, real = made("vae", "hurdle_mixture", tiny_geometry)
    own = drawn(model, real)
    layers = real.geometry.layer_energies(torch.from_numpy(own))
    replacement = Replacement(model, real.energies, 3)
    for way in ("independent", "mean"):
        _, voxels = replacement.showers(way, real, SOME).read(0, len(SOME))
        assert not np.array_equal(voxels, own)
        same = real.geometry.layer_energies(torch.from_numpy(voxels))
        torch.testing.assert_close(same, layers, rtol=1e-4, atol=1e-2)


def test_what_canonical_latents_are_read_of_is_canonical(tiny_geometry):
    model, real = made("vae", "hurdle_mixture", tiny_geometry)
    assert as_learned(model, real, CPU) is real
    model.preprocess.orientation = orientation = Orientation(tiny_geometry)
    energies, voxels = as_learned(model, real, CPU).read(0, len(real))
    np.testing.assert_array_equal(energies, real.energies)
    seen = torch.from_numpy(voxels)
    assert torch.equal(orientation.turns(seen, orientation.of(seen)), seen)
    before = torch.from_numpy(real.read(0, len(real))[1])
    assert not torch.equal(before, seen)
    torch.testing.assert_close(before.sort(1).values, seen.sort(1).values)


def test_replaced_latents_keep_means_and_widths_and_nothing_else(tiny_geometry):
    model, real = made("vae", "gaussian", tiny_geometry)
    replacement = Replacement(model, real.energies, 3)
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(4000, generator=generator)
    replacement.pool = torch.stack([5 + 2 * first, first, -first], 1)
    new = replacement.independent(Noise(1, 0, 4000))
    assert new.mean(0).tolist() == pytest.approx([5, 0, 0], abs=0.2)
    assert new.std(0).tolist() == pytest.approx([2, 1, 1], rel=0.05)
    assert torch.corrcoef(new.T)[0, 1:].abs().max() < 0.06
    torch.testing.assert_close(replacement.typical(), replacement.pool.mean(0))


def test_replaced_codes_are_codes_as_often_as_they_were(tiny_geometry):
    model, real = made("vqvae", "gaussian", tiny_geometry)
    replacement = Replacement(model, real.energies, 3)
    codes = torch.tensor([1.0, 1.0, 4.0])
    replacement.pool = torch.stack([codes, codes], 1).repeat(10, 1)
    new = replacement.independent(Noise(1, 0, 3000))
    assert set(new.flatten().tolist()) == {1.0, 4.0}
    assert float((new == 1).float().mean()) == pytest.approx(2 / 3, abs=0.03)
    agree = float((new[:, 0] == new[:, 1]).float().mean())
    assert agree == pytest.approx(4 / 9 + 1 / 9, abs=0.04)  # independent of each other
    assert replacement.typical().tolist() == [1.0, 1.0]


def test_nats_of_a_linear_gaussian_encoder_are_known(tiny_geometry, monkeypatch):
    """KL(N(m, s) || N(0, 1)) of each latent, and on average log q / p of draws."""
    from caloman_cli.models.encoders.posterior import GaussianPosterior

    model, real = made("vae", "gaussian", tiny_geometry)
    weights = torch.linspace(-1, 1, model.encoder.n_learned)
    sigma = torch.tensor([0.5, 1.0, 0.1])

    def linear(x, c):
        mean = x[:, :1] * weights
        return GaussianPosterior(mean, sigma.expand_as(mean))

    monkeypatch.setattr(model.encoder, "_posterior", linear)
    rows = carried(model, real, CPU, 0)
    means, s = rows.mean.astype(np.float64), sigma.double().numpy()
    known = 0.5 * (means**2 + s**2 - 1) - np.log(s)
    np.testing.assert_allclose(rows.nats, known, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows.learned_nats, known.sum(1), rtol=1e-4)
    error = rows.over.std() / len(real) ** 0.5
    assert abs(rows.over.mean() - known.sum(1).mean()) < 4 * error
    assert carried(model, real, CPU, 0, "mean").z.tolist() == rows.mean.tolist()


def test_nats_of_moments_are_those_of_a_channel_with_noise(tiny_geometry):
    """ln(width of all / width of one), whatever their scale."""
    model, real = made("vae", WALK, tiny_geometry)
    rows = carried(model, real, CPU, 0)
    moments = rows.mean[:, rows.n_learned :].astype(np.float64)
    known = 0.5 * np.log(1 + moments.var(0) / 0.1**2)
    np.testing.assert_allclose(rows.nats[:, rows.n_learned :].mean(0), known, rtol=1e-3, atol=1e-4)


def test_latents_of_layers_have_lines_of_their_own(tiny_geometry):
    """The ledger counts them, and their nats, beside all that are learned."""
    model, real = made("vae_cylinder", "gaussian", tiny_geometry)
    rows = carried(model, real, CPU, 0)
    assert (rows.n_shower, rows.n_learned) == (3, 6)
    rows.active[:] = [True, False, True, True, False, False]
    rows.nats[:] = np.arange(6)
    found = {score.key: score for score in _carried_scores(model, rows)}
    assert (found["ledger_nats"].generated, found["ledger_nats_layers"].generated) == (15, 12)
    assert found["ledger_active"].generated == 3
    assert found["ledger_active"].note == "of 6; 1 of the 3 of layers"
    model, real = made("vae", "gaussian", tiny_geometry)
    none = {score.key: score for score in _carried_scores(model, carried(model, real, CPU, 0))}
    assert none["ledger_active"].note == "of 3"
    assert "ledger_nats_layers" not in none
