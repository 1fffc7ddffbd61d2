"""log p of showers: a density per MeV with known answers, a number for each, never NaN."""

import math
from functools import partial

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import UserError
from caloman_cli.models.densities import FlowMap
from caloman_cli.models.densities.velocity import VelocityNet
from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.latents import Latents
from caloman_cli.models.likelihood import Likelihood
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.preprocess.zeros import DequantizeZeros
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import build
from tests.conftest import load_geometry
from tests.contracts.groups import showers, small, toy_for

CUT = 0.1
PAIR = Geometry("pair", "photon", (Layer(0, (0.0, 5.0), 2),), CUT, 2.0)
FLAGSHIP = {
    "preprocess": "shares",
    "energy": "autoregressive",
    "encoder": "vae",
    "head": "autoregressive",
    "density": "nsf",
}


def made(geometry, settings=None, **groups):
    """An untrained model of named options."""
    config = {group: small(group, name) for group, name in {**FLAGSHIP, **groups}.items()}
    for path, value in (settings or {}).items():
        group, key = path.split(".")
        config[group][key] = value
    return build(config, geometry).eval()


def fitted(geometry, voxels, e_inc, settings=None, **groups):
    """The same with prepared parts and weights as they begin."""
    torch.manual_seed(5)
    model = made(geometry, settings, **groups)
    model.preprocess.fit(TensorRows(voxels, e_inc))
    if groups.get("encoder") == "ae":
        with torch.no_grad():  # shares that are positive, so that they have slopes
            list(model.encoder.decoder.parameters())[-1].fill_(0.5)
    x, c = model.preprocess(voxels, e_inc)
    model.energy.prepare(TensorRows(geometry.layer_energies(voxels), e_inc))
    model.encoder.prepare(TensorRows(x, c))
    with torch.no_grad():
        model.density.prepare(TensorRows(model.encoder.encode(x, c), c))
    return model


def pair_showers(n=400):
    """Of two voxels of one layer, a few dark ones among them, at 5 MeV."""
    voxels = CUT + 2.0 * torch.empty(n, 2).exponential_()
    voxels = (voxels * (torch.rand(n, 2) < 0.7)).clamp(max=4.5)
    return voxels, torch.full((n, 1), 5.0)


@torch.no_grad()
def says_nothing_of_a_shower(encoder):
    """The posterior is the prior, and what is decoded is the same for all latents."""
    for network in (encoder.encoder, encoder.decoder):
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.zero_()
        if network is encoder.encoder:
            last.bias.zero_()
        else:
            last.bias.normal_()


@pytest.mark.parametrize("head", ["autoregressive", "hurdle_mixture"])
def test_a_model_of_two_voxels_integrates_to_one_per_mev(head, monkeypatch):
    """Over all energies of both, of either alone and of none; but for what a head mends."""
    voxels, e_inc = pair_showers()
    settings = {"encoder.latent_dim": 1}
    model = fitted(PAIR, voxels, e_inc, settings, head=head, density="standard_normal")
    says_nothing_of_a_shower(model.encoder)
    step = 10.0 / 200
    grid = (torch.arange(200) + 0.5) * step
    both = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), 2).flatten(0, 1)
    if head == "hurdle_mixture":  # whose scaling takes voxels below the cut
        model.preprocess.transforms[0].threshold = 0.0
    both = both[(both >= model.preprocess.transforms[0].threshold).all(1) & (both.sum(1) < 10.0)]
    fine = torch.linspace(CUT, 10.0, 2001)[:-1, None]
    cells = [
        (both, step**2),
        (fine * torch.tensor([[1.0, 0.0]]), float(fine[1] - fine[0])),
        (fine * torch.tensor([[0.0, 1.0]]), float(fine[1] - fine[0])),
        (torch.zeros(1, 2), 1.0),
    ]
    total = 0.0
    with torch.no_grad():
        for rows, cell in cells:
            found = model.likelihood(rows, torch.full((len(rows), 1), 5.0), draws=1)
            total += float(found.total.exp().sum()) * cell
        monkeypatch.setattr(model.encoder.head, "_rescued", lambda x, *_: x)
        monkeypatch.setattr(model.encoder.head, "_normalised", lambda x: x)
        noise, e_inc = Noise(0, 0, 20_000), torch.full((20_000, 1), 5.0)
        context = Context(e_inc, model.energy.sample(e_inc, noise))
        c = model.preprocess.condition(context)
        decoded = model.encoder.decode(torch.zeros(20_000, 1), c)
        drawn = model.encoder.head.sample(decoded, noise)
    alone, total_share = (drawn > 0).sum(1) == 1, drawn.sum(1)
    whole = (total_share - 1.0).abs() < 1e-5
    if head == "hurdle_mixture":  # whose shares are scaled, and no larger than one
        whole = alone | (total_share > 0) & (drawn < 1.0).all(1)
    whole |= context.layers[:, 0] <= 0
    expected = float(whole.double().mean())
    assert 0.5 < expected < 0.99
    assert total == pytest.approx(expected, abs=0.02)


def test_voxels_of_an_identity_are_the_change_of_variables(monkeypatch):
    """At fixed layer energies a density per MeV of both voxels, which integrates to one."""
    voxels, e_inc = pair_showers()
    model = fitted(
        PAIR, voxels, e_inc, preprocess="caloman_logit", encoder="identity", head="gaussian",
        density="standard_normal",
    )  # fmt: skip
    layers = torch.tensor([[4.0]])
    monkeypatch.setattr(
        model.preprocess, "seen", lambda v, e: (v, Context(e, layers.expand(len(v), 1)))
    )
    grid = (torch.arange(250) + 0.5) * 4.0 / 250
    both = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), 2).flatten(0, 1)
    with torch.no_grad():
        found = model.likelihood(both, torch.full((len(both), 1), 5.0))
    share = both.double() / 4.0
    x = torch.logit(1e-6 + (1 - 2e-6) * share)
    normal = -0.5 * x.square() - 0.5 * math.log(math.tau)
    slope = ((1 - 2e-6) / (torch.sigmoid(x) * torch.sigmoid(-x)) / 4.0).log()
    torch.testing.assert_close(found.voxels(1), (normal + slope).sum(1), rtol=1e-4, atol=1e-3)
    total = float(found.voxels(1).exp().sum()) * (4.0 / 250) ** 2
    assert total == pytest.approx(1.0, abs=1e-3)
    assert model.kind == "score"


@pytest.mark.parametrize("preprocess", ["caloman", "logit_shares"])
def test_showers_on_a_plane_of_principal_components(preprocess, tiny_geometry):
    """The Jacobian is that of the whole way to MeV, at fixed layer energies, before the cut."""
    voxels, e_inc = showers(tiny_geometry)
    model = fitted(
        tiny_geometry, voxels, e_inc, preprocess=preprocess, encoder="pca", head="gaussian",
        density="standard_normal",
    )  # fmt: skip
    with torch.no_grad():
        found = model.likelihood(voxels[:6], e_inc[:6])
    context = model.preprocess.context(voxels[:6], e_inc[:6])
    x, c = model.preprocess(voxels[:6], e_inc[:6])
    z = model.encoder.encode(x, c).detach()

    def generated(z, i):
        mean = model.encoder.decode(z[None], c[i : i + 1])[0]
        of_row = Context(context.e_inc[i : i + 1], context.layers[i : i + 1])
        for step in reversed(
            list(model.preprocess.transforms)[1 if preprocess != "caloman" else 0 :]
        ):
            mean = step.inverse(mean, of_row)
        return mean[0]

    for i in range(6):
        jacobian = torch.func.jacrev(generated)(z[i], i).double()
        volume = torch.linalg.svdvals(jacobian).log().sum()
        normal = -0.5 * (z[i].double().square() + math.log(math.tau)).sum()
        torch.testing.assert_close(found.voxels(1)[i], normal - volume, rtol=1e-4, atol=1e-3)
    assert model.kind == "exact"
    if preprocess == "caloman":  # affine: E = layer times (center + z axes)
        axes = model.encoder.axes.double()
        scale = model.preprocess.layers.spread(context.layers).double()
        mean, clip = model.encoder.center + z @ model.encoder.axes, model.preprocess.transforms[1]
        inside = ((mean > 0) & (mean < clip.upper)).double()
        expected = [
            -0.5 * (z[i].double().square() + math.log(math.tau)).sum()
            - 0.5 * torch.logdet((axes * scale[i] * inside[i]) @ (axes * scale[i] * inside[i]).T)
            for i in range(6)
        ]
        torch.testing.assert_close(found.voxels(1), torch.stack(expected), rtol=1e-4, atol=1e-3)


def linear_gaussian(geometry):
    """A VAE of linear networks on MeV themselves, and the exact log p of what it draws."""
    torch.manual_seed(5)
    settings = {"encoder.latent_dim": 2, "encoder.hidden": [], "encoder.conditional": False,
                "encoder.layer_norm": False, "head.sigma": "fixed", "head.draw": True,
                "head.value": 0.5, "preprocess.transforms": []}  # fmt: skip
    model = made(
        geometry, settings, preprocess="caloman", head="gaussian", density="standard_normal"
    )
    model.energy.log_prob = lambda layers, e_inc: torch.zeros(len(layers))
    decoder = [m for m in model.encoder.decoder.modules() if isinstance(m, nn.Linear)][0]
    encoder = [m for m in model.encoder.encoder.modules() if isinstance(m, nn.Linear)][0]
    with torch.no_grad():
        decoder.weight.copy_(0.6 * torch.randn_like(decoder.weight))
        precision = torch.eye(2) + decoder.weight.T @ decoder.weight / 0.25
        mean = torch.linalg.solve(precision, decoder.weight.T / 0.25)
        # Wider than the posterior, not along its axes, and a little off.
        sigma = 1.3 * torch.linalg.inv(precision).diagonal().sqrt()
        encoder.weight.copy_(torch.cat([mean, torch.zeros_like(mean)]))
        encoder.bias.copy_(torch.cat([0.2 * sigma - mean @ decoder.bias, sigma.log()]))
    weight = decoder.weight.detach().double()
    covariance = weight @ weight.T + 0.25 * torch.eye(len(weight)).double()
    truth = torch.distributions.MultivariateNormal(decoder.bias.detach().double(), covariance)
    return model, truth


def test_the_bound_lies_below_the_truth_rises_and_arrives(tiny_geometry):
    model, truth = linear_gaussian(tiny_geometry)
    voxels = truth.sample((500,)).float()
    e_inc = torch.full((500, 1), 1e4)
    with torch.no_grad():
        found = model.likelihood(voxels, e_inc, draws=256)
    exact = truth.log_prob(voxels.double()).mean()
    gaps = [float(exact - found.voxels(k).mean()) for k in (1, 4, 32, 256)]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > -2e-3
    assert gaps[0] > 0.2
    assert gaps[2] < 0.02  # 32 draws are tight
    assert gaps[3] < 2e-3
    assert found.total.mean() == found.voxels(256).mean()
    assert 0.3 < float(found.spread.mean()) < 2.0


def test_draws_belong_to_a_seed_and_leave_torchs_generator_alone(tiny_geometry):
    voxels, e_inc = showers(tiny_geometry)
    model = fitted(tiny_geometry, voxels, e_inc)
    with torch.no_grad():
        state = torch.get_rng_state()
        first, again = (model.log_prob(voxels, e_inc, draws=3, seed=1) for _ in range(2))
        other = model.log_prob(voxels, e_inc, draws=3, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(UserError, match="draws=0 must be 1 or more"):
        model.log_prob(voxels, e_inc, draws=0)


SCALED = [
    ("autoregressive", "vae", "shares", "lit"),
    ("autoregressive_dipoles", "vae", "shares", "lit"),
    ("hurdle_mixture", "vae", "shares", "lit"),
    ("cylinder", "vae", "shares", "lit"),
    ("gaussian", "vae", "shares", "all"),
    ("gaussian", "identity", "dequantized_log", "lit of all"),
    ("gaussian", "identity", "logit_shares", "all"),
    ("gaussian", "ae", "shares", "manifold"),
]


@pytest.mark.parametrize(("head", "encoder", "preprocess", "which"), SCALED)
def test_in_other_units_a_density_is_another_by_the_lit_voxels(
    head, encoder, preprocess, which, tiny_geometry, monkeypatch
):
    """A detector in keV: energies and cut a thousand times as large, and nothing else."""
    detector = toy_for(head, tiny_geometry)
    facts = detector.to_dict()
    in_kev = Geometry.from_dict({**facts, "threshold": 1e3 * detector.threshold})
    voxels, e_inc = showers(detector)
    same = torch.randn_like(voxels).clamp(-3.0, 3.0)  # which a hash of the energy is not
    monkeypatch.setattr(DequantizeZeros, "_normal", lambda self, x, context: same[: len(x)])
    found = []
    for geometry, unit in ((detector, 1.0), (in_kev, 1e3)):
        model = fitted(
            geometry, unit * voxels, unit * e_inc,
            head=head, encoder=encoder, preprocess=preprocess, density="standard_normal",
        )  # fmt: skip
        with torch.no_grad():
            found.append(model.likelihood(unit * voxels, unit * e_inc, draws=4))
    lit, filled = (voxels > 0).sum(1), (detector.layer_energies(voxels) > 0).sum(1)
    numbers = {
        "lit": lit - filled,
        "lit of all": lit,
        "all": torch.tensor([layer.stop - layer.start for layer in detector.slices]),
        "manifold": torch.full((len(voxels),), 3),
    }[which]
    if which == "all":
        numbers = ((detector.layer_energies(voxels) > 0) * numbers).sum(1)
    shift = found[1].voxels(4 if "vae" in encoder else 1) - found[0].voxels(
        4 if "vae" in encoder else 1
    )
    finite = torch.isfinite(shift)
    assert finite.double().mean() > 0.5
    expected = -numbers.double() * math.log(1e3)
    torch.testing.assert_close(shift[finite], expected[finite], rtol=2e-3, atol=2e-2)
    layers = found[1].layers - found[0].layers
    torch.testing.assert_close(layers, -filled.double() * math.log(1e3), rtol=2e-3, atol=2e-2)


NAMED = [
    ("autoregressive", "vae", "shares", "nsf", "bound"),
    ("autoregressive_dipoles", "vae", "shares", "flow_matching", "estimate"),
    ("hurdle_mixture", "vae", "shares", "nsf", "estimate"),
    ("gaussian", "vae", "caloman", "nsf", "score"),
    ("gaussian", "ae", "shares", "nsf", "exact"),
    ("autoregressive", "ae", "shares", "nsf", "score"),
    ("gaussian", "pca", "logit_shares", "maf", "exact"),
    ("gaussian", "identity", "dequantized_log", "nsf", "score"),
    ("hurdle_mixture", "identity", "shares", "nsf", "score"),
    ("cylinder", "vae", "shares", "nsf", "estimate"),
]


@pytest.mark.parametrize(("head", "encoder", "preprocess", "density", "kind"), NAMED)
def test_every_shower_has_a_number(
    head, encoder, preprocess, density, kind, tiny_geometry, monkeypatch
):
    """Empty layers, nothing at all, one voxel, more than ever seen, and of every kind."""
    geometry = toy_for(head, tiny_geometry)
    voxels, e_inc = (part.clone() for part in showers(geometry))
    model = fitted(
        geometry, voxels, e_inc, head=head, encoder=encoder, preprocess=preprocess,
        density=density,
    )  # fmt: skip
    voxels[0], voxels[1, 1:], voxels[2] = 0.0, 0.0, 1e4 * voxels[2]
    voxels[3, geometry.slices[-1]], e_inc[4], e_inc[5] = 0.0, 1e-2, 1e8
    with torch.no_grad():
        found = model.log_prob(voxels, e_inc, draws=2)
    assert found.dtype == torch.float64
    assert not found.isnan().any()
    assert torch.isfinite(found[6:]).double().mean() > 0.7
    assert model.log_prob(voxels[:0], e_inc[:0]).shape == (0,)
    assert model.kind == kind
    assert ("of each lit one" in model.measure) == (kind in ("bound", "estimate"))
    monkeypatch.setattr(model.encoder.head, "kind", "score")
    assert ("own coordinates" in model.measure) == (kind in ("bound", "estimate"))
    assert ("of each lit voxel" in model.measure) == (preprocess == "dequantized_log")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("ds1_photons", "autoregressive_dipoles"),
        pytest.param("ds2", "cylinder_direction", marks=pytest.mark.slow),
    ],
)
def test_geant4_showers_with_empty_layers_have_a_likelihood(shared, name, head):
    """The root of nothing has an infinite slope, which made NaN of 21 showers of 24."""
    geometry = load_geometry(name)
    with h5py.File(shared / f"data/geant4/{name}_train.hdf5") as file:
        rows = np.linspace(0, len(file["showers"]) - 1, 6).astype(int)
        voxels, e_inc = (
            torch.tensor(file[key][rows], dtype=torch.float32).reshape(len(rows), -1)
            for key in ("showers", "incident_energies")
        )
    voxels[0, geometry.slices[-1]] = 0.0
    voxels = torch.where(voxels >= geometry.threshold, voxels, 0.0)
    model = fitted(geometry, voxels, e_inc, head=head)
    with torch.no_grad():
        log_prob = model.log_prob(voxels, e_inc, draws=4)
        assert torch.isfinite(model.encoder.half_logdet(*model_rows(model, voxels, e_inc))).all()
    assert (geometry.layer_energies(voxels) <= 0).any()
    assert torch.isfinite(log_prob).all()


def model_rows(model, voxels, e_inc):
    """z and c of showers."""
    x, c = model.preprocess(voxels, e_inc)
    return model.encoder.encode(x, c), c


def test_a_shower_without_energy_on_a_manifold_is_said_to_have_none(tiny_geometry, caplog):
    """Of voxels that are drawn it is a probability; of a point there is no volume."""
    voxels, e_inc = (part.clone() for part in showers(tiny_geometry))
    voxels[4] = 0.0
    found = {}
    for encoder, head in (("vae", "autoregressive"), ("ae", "gaussian")):
        model = fitted(tiny_geometry, voxels, e_inc, encoder=encoder, head=head)
        with torch.no_grad():
            found[encoder] = model.log_prob(voxels, e_inc, draws=4)
    assert torch.isfinite(found["vae"]).all()
    assert found["ae"][4] == torch.inf
    assert f"infinite for {int(found['ae'].isinf().sum())} of 80 showers" in caplog.text


def test_nan_is_an_error_that_counts_the_showers(tiny_geometry, monkeypatch):
    voxels, e_inc = showers(tiny_geometry)
    model = fitted(tiny_geometry, voxels, e_inc, head="gaussian")
    nothing = torch.zeros(80)
    nothing[:3] = torch.nan
    monkeypatch.setattr(model.energy, "log_prob", lambda layers, e_inc: nothing)
    with torch.no_grad(), pytest.raises(FloatingPointError, match="NaN for 3 of 80 showers"):
        model.log_prob(voxels, e_inc, draws=2)


def test_a_decoder_with_an_endless_slope_is_an_error():
    def root(z, c):
        return torch.cat([z, z.sqrt()], 1) * c

    z = torch.tensor([[1.0], [0.0], [2.0]])
    with pytest.raises(FloatingPointError, match="infinite for 1 of 3 rows"):
        half_logdet(root, z, torch.ones(3, 1))


def test_a_direction_that_depends_on_others_has_no_volume():
    """Not what rounding leaves of it."""
    weight = torch.randn(3, 20)
    weight[2] = 0.3 * weight[0] - 1.7 * weight[1]
    found = half_logdet(lambda z: torch.tanh(z @ weight), torch.zeros(2, 3))
    assert (found == -torch.inf).all()
    assert torch.isfinite(half_logdet(lambda z: z @ weight[:2], torch.zeros(2, 2))).all()


def test_with_fewer_draws_it_is_the_mean_over_parts():
    weights = torch.tensor([[1.0, 3.0, 2.0, 2.0, 9.0]], dtype=torch.float64)
    found = Likelihood(torch.tensor([10.0], dtype=torch.float64), weights)
    two = [math.log((math.exp(a) + math.exp(b)) / 2) for a, b in ((1.0, 3.0), (2.0, 2.0))]
    assert float(found.voxels(2)) == pytest.approx(sum(two) / 2)
    assert float(found.voxels(1)) == pytest.approx(3.4)
    assert float(found.total) == pytest.approx(10 + math.log(sum(map(math.exp, weights[0])) / 5))


def test_a_model_without_a_density_says_so_in_one_line(tiny_geometry):
    """A density that only draws, and an encoder that only draws."""
    voxels, e_inc = showers(tiny_geometry)
    model = fitted(tiny_geometry, voxels, e_inc)
    sizes = {"latents": model.encoder.latents, "c_dim": model.preprocess.c_dim}
    model.density = FlowMap(partial(VelocityNet, 8, n_blocks=1), **sizes)
    assert model.kind == "none"
    with pytest.raises(UserError, match="FlowMap.*log_prob"):
        model.log_prob(voxels, e_inc, draws=2)

    class Implicit(type(model.encoder)):
        _posterior = Encoder._posterior

    model = fitted(tiny_geometry, voxels, e_inc)
    model.encoder.__class__ = Implicit
    assert model.kind == "none"
    with pytest.raises(UserError, match="Implicit can only draw latents") as refused:
        model.log_prob(voxels, e_inc, draws=2)
    assert "\n" not in str(refused.value)


def test_codes_have_the_term_of_their_own(tiny_geometry, monkeypatch):
    """Of finitely many points log p(x, z) of one is a lower bound."""
    voxels, e_inc = showers(tiny_geometry)
    model = fitted(tiny_geometry, voxels, e_inc, encoder="ae", head="autoregressive")
    encoder = model.encoder
    model.encoder.latents = Latents(3, "codes", 4, "AE")
    codes = torch.randint(4, (80, 3)).float()
    monkeypatch.setattr(encoder, "encode", lambda x, c: codes[: len(x)])
    monkeypatch.setattr(
        model.density, "log_prob", lambda z, c: torch.full((len(z),), -3.0 * math.log(4.0))
    )
    with torch.no_grad():
        found = model.likelihood(voxels, e_inc)
        x, c = model.preprocess(voxels, e_inc)
        head = encoder.head
        given = head.log_density(encoder.decode(codes, c), x)
    layers = model.preprocess.context(voxels, e_inc).layers
    free = (model.preprocess.layers.sum((voxels > 0).double()) - 1.0).clamp(min=0.0)
    units = (free * torch.where(layers > 0, layers, 1.0).log()).sum(1)
    torch.testing.assert_close(found.voxels(1), given - 3.0 * math.log(4.0) - units)
    assert found.log_weights.shape == (80, 1)
    assert model.kind == "bound"
