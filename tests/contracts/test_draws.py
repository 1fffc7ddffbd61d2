r"""What densities and heads draw has the distribution that their ``log_prob`` says.

For x drawn from p(x | a), whatever a: :math:`E[\partial_a \log p(x | a)] = 0`, and for a density
of z also :math:`E[z\,\partial_z \log p(z)] = -1`. Nothing is trained for it.
"""

import sys

import pytest
import torch

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.models.heads import cylinder, mixture
from caloman_cli.models.heads.base import Head
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import (
    image_geometry,
    make_head,
    maker,
    options,
    serves,
    shares,
    showers,
    tiny,
)
from tests.contracts.test_densities import MADE, OPTIONS, REAL, prepared
from tests.contracts.test_energies import layer_rows
from tests.models.heads import tilt

ROWS = 4000
GROUPS = 40
SMALL = {"flow_matching": {"hidden": 16, "n_blocks": 1, "n_frequencies": 4, "steps": 6}}
# A score is no density of what is drawn, a bound is below it.
SAMPLED = [name for name in OPTIONS if MADE[name].kind in ("exact", "estimate")]
CODES = [name for name in SAMPLED if name not in REAL]
# But bounds of many draws are tight, and what an energy lacks of a density has no slope.
NEARLY = {"vae": {"draws": 1024}, "avb": {"draws": 1024}, "ebm": {"steps": 600}}


def spoken() -> list[tuple[str, dict]]:
    """Heads whose density is exact where they draw, as all toy detectors have it."""
    found: list[tuple[str, dict]] = [("gaussian", {"draw": True, "sigma": "voxel"})]
    for name in options("head"):
        if serves(name, tiny()):
            deterministic = make_head(name, tiny()).deterministic
            settings = {"draw": True} if deterministic else {}
            if made_head(name, tiny(), settings).kind == "exact":
                found.append((name, settings))
    return found


def made_head(name: str, geometry: Geometry, settings: dict) -> Head:
    conditions = shares(geometry).conditions
    head: Head = maker("head", name)(geometry=geometry, conditions=conditions, **settings)
    return head


SPOKEN = spoken()


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in SAMPLED if name in REAL),
        *(pytest.param(name, marks=pytest.mark.slow) for name in NEARLY),
    ],
)
def test_latents_are_drawn_from_the_density(name):
    density, _, c = prepared(name, **SMALL.get(name, {}), **NEARLY.get(name, {}))
    n = 2000 if name in SMALL else ROWS
    if name in NEARLY:
        with torch.no_grad():
            for parameter in density.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    c = c.repeat(n // len(c), 1)
    with torch.no_grad():
        z = density.sample(c, Noise(0, 0, n))
    z.requires_grad_()
    (slope,) = torch.autograd.grad(density.log_prob(z, c).sum(), z)
    center = z.detach().mean(0)
    for found, expected in ((slope, 0.0), (slope * (z - center), -1.0)):
        found = found.detach()
        error = found.std(0) / n**0.5
        assert ((found.mean(0) - expected).abs() < 4.5 * error).all()


@pytest.mark.parametrize("name", CODES)
def test_codes_are_drawn_from_their_probabilities(name):
    """By the scores of the parameters: codes have no slope."""
    density, _, c = prepared(name)
    c = c[:1].expand(ROWS, -1)
    with torch.no_grad():
        z = density.sample(c, Noise(0, 0, ROWS))
    named = dict(density.named_parameters())
    found = of_parameters(named, lambda rows: density.log_prob(z[rows], c[rows]), ROWS)
    assert max(found.values(), default=0.0) < 4.0, found


def scores(head, detector, n, monkeypatch, of="log_prob", scaled=False):
    """Of each group of parameters, the mean square of scores over their standard error.

    n draws at one shower's c, in groups whose summed scores tell the error.
    """
    torch.manual_seed(3)
    voxels, e_inc = showers(detector)
    x, c = shares(detector)(voxels, e_inc)
    head.prepare(TensorRows(x, c))
    # What scales layers to one and lights a voxel in a layer without is no part of `log_prob`.
    monkeypatch.setattr(head, "_rescued", lambda x, *_: x, raising=False)
    if not scaled:
        monkeypatch.setattr(head, "_normalised", lambda x: x, raising=False)
    brightest = int((voxels > 0).sum(1).argmax())
    c = c[brightest : brightest + 1].expand(n, -1)
    raw = (0.3 * torch.randn(1, head.out_dim)).requires_grad_()
    named = {"raw": raw, **dict(head.named_parameters())}
    with torch.no_grad():
        drawn = head.sample(head.params(raw.expand(n, -1), c), Noise(0, 0, n))

    def log_prob(rows):
        params = head.params(raw.expand(len(rows), -1), c[rows])
        return getattr(head, of)(params, drawn[rows])

    return of_parameters(named, log_prob, n)


def of_parameters(named, log_prob, n):
    """For each parameter the mean square of its scores over their standard error, see above."""
    found = []
    for rows in torch.arange(n).chunk(GROUPS):
        total = log_prob(rows).sum()
        slopes = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        found.append(
            [
                torch.zeros_like(parameter) if slope is None else slope
                for parameter, slope in zip(named.values(), slopes, strict=True)
            ]
        )
    result = {}
    for name, groups in zip(named, zip(*found, strict=True), strict=True):
        slope = torch.stack(groups).flatten(1)
        error = slope.std(0) / GROUPS**0.5
        told = error > 1e-6 * error.max().clamp(min=1e-6)
        if told.any():
            result[name] = float((slope.mean(0)[told] / error[told]).square().mean())
    return result


OWN = [
    {"networks.says_bits.bias", "networks.says_total.bias"},
    {"networks.0.0.bias", "networks.0.0.adds"},
]
"""Some parameters of heads that have their own."""


@pytest.mark.parametrize(("name", "settings"), SPOKEN)
def test_voxels_are_drawn_from_the_heads_distribution(name, settings, tiny_geometry, monkeypatch):
    head = made_head(name, tiny_geometry, settings)
    # A layer whose last block is dark would be scaled, which no log_prob knows: let few be.
    tilt(monkeypatch, 4.0, scale=1.0)
    z = scores(head, tiny_geometry, ROWS, monkeypatch)
    assert len(z) == 1 or any(of < set(z) for of in OWN)
    assert max(z.values()) < 4.0, z


@pytest.mark.slow
def test_a_cylinders_voxels_are_drawn_from_its_density(monkeypatch):
    """With what rings and voxels divide, whose scaling its log_prob does not know."""
    monkeypatch.setattr(sys.modules[__name__], "GROUPS", 16)  # of many small integrals each
    layers = tuple(Layer(i, (0.0, 5.0, 10.0), 4) for i in range(2))
    detector = Geometry("two layers", "electron", layers, 0.015, 2.0, incident_range=(1e3, 1e5))
    head = maker("head", "cylinder")(geometry=detector, conditions=shares(detector).conditions)
    z = scores(head, detector, 1500, monkeypatch, of="log_density")
    assert {"network.says_total.bias", "network.says_rings.bias", "network.last.bias"} < {*z}
    assert max(z.values()) < 4.0, z


@pytest.mark.parametrize(
    ("of", "n"), [("log_prob", 3000), pytest.param("log_density", 1000, marks=pytest.mark.slow)]
)
def test_a_hurdles_voxels_are_drawn_from_its_distribution(of, n, monkeypatch):
    """Before layers are scaled, and after that by the integral over it.

    Of narrow mixtures: a share that is drawn above one is taken for one, which neither knows.
    """
    monkeypatch.setattr(mixture, "SHIFT", -3.0)
    monkeypatch.setattr(sys.modules[__name__], "GROUPS", 16)
    detector = image_geometry()
    head = maker("head", "hurdle_mixture")(
        geometry=detector, conditions=shares(detector).conditions
    )
    z = scores(head, detector, n, monkeypatch, of, scaled=of == "log_density")
    assert max(z.values()) < 1.6, z  # of 16 groups 15/13 are expected


@pytest.mark.parametrize(
    "name", [pytest.param("cylinder", marks=pytest.mark.slow), "cylinder_direction"]
)
def test_bits_ends_and_halves_of_a_cylinder_are_drawn_from_its_distribution(name, monkeypatch):
    """How rings and voxels divide is a score, not a density: it is left out."""
    detector = image_geometry()
    head = maker("head", name)(geometry=detector, conditions=shares(detector).conditions)
    monkeypatch.setattr(
        cylinder.mixture, "log_density", lambda m, y, edge=None: torch.zeros_like(y)
    )
    z = scores(head, detector, 1500, monkeypatch)
    assert "network.says_total.bias" in z
    assert max(z.values()) < 4.0, z


# Not energy=caloman: untrained, its narrow tails draw ratios at the edge of what numbers hold.
@pytest.mark.parametrize("name", sorted({*options("energy")} - {"caloman"}))
def test_layer_energies_are_drawn_from_their_distribution(name, tiny_geometry):
    """Where every layer has energy: what stands in for that of an empty one is no draw."""
    torch.manual_seed(3)
    energy = maker("energy", name)(geometry=tiny_geometry)
    energy.prepare(TensorRows(*layer_rows(tiny_geometry)))
    energy.eval()
    with torch.no_grad():
        layers = energy.sample(torch.full((3 * ROWS, 1), 2e4), Noise(0, 0, 3 * ROWS))
    layers = layers[(layers > 0).all(1)][:ROWS]
    e_inc = torch.full((len(layers), 1), 2e4)
    named = {k: v for k, v in energy.named_parameters() if not k.startswith(("filled", "bits"))}
    z = of_parameters(named, lambda rows: energy.log_prob(layers[rows], e_inc[rows]), len(layers))
    assert max(z.values()) < 4.0, z
