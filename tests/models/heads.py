"""Small heads that sample shares, and what to ask of them."""

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

from caloman_cli.data.geometry import Geometry
from caloman_cli.models.heads.autoregressive import Autoregressive
from caloman_cli.models.heads.block_networks import Bits, BlockNetworks
from caloman_cli.models.heads.cylinder import Cylinder
from caloman_cli.models.heads.hurdle_mixture import HurdleMixture
from caloman_cli.models.heads.multiscale import Multiscale
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import image_geometry, share_rows, shares

ORDERS = ["layer", "ring", "half_ring"]
HEADS = {
    "hurdle_mixture": lambda **build: HurdleMixture(2, **build),
    "hurdle_mixture_copula": lambda **build: HurdleMixture(2, 2, **build),
    "hurdle_mixture_refined": lambda **build: HurdleMixture(2, 0, 16, **build),
    **{
        order: lambda order=order, **build: Autoregressive(order, 16, 16, 2, **build)
        for order in ORDERS
    },
    "half_ring_dipoles": lambda **build: Autoregressive(
        "half_ring", 16, 16, 2, dipoles=True, **build
    ),
    "multiscale": lambda **build: Multiscale(16, 16, 4, 2, **build),
    "multiscale_more": lambda **build: Multiscale(16, 16, 4, 2, 1, sight=1, harmonics=2, **build),
    "multiscale_long": lambda **build: Multiscale(
        16, 16, 4, 2, 2, 1, paired=True, energies=True, **build
    ),
    "multiscale_counted": lambda **build: Multiscale(
        16, 16, 4, 2, 2, 1, reach=2, paired=True, counted=True, **build
    ),
    "cylinder": lambda **build: Cylinder(8, 4, 16, 2, **build),
    "cylinder_direction": lambda **build: Cylinder(8, 4, 16, 2, direction=True, **build),
}


# A cylinder's layers are of one shape.
SERVED = [(name, d) for name in HEADS for d in ("tiny", "image")
          if d == "image" or not name.startswith("cylinder")]  # fmt: skip


def prepared(name, geometry):
    """A head with measured statistics, and rows x, c of plausible showers."""
    head = HEADS[name](geometry=geometry, conditions=shares(geometry).conditions)
    x, c = share_rows(geometry)
    head.prepare(TensorRows(x, c))
    return head, x, c


def tilt(monkeypatch, logit, scale=0.0):
    """Let all voxels of a walk be lit with the same logit, plus a part of their own."""
    bits = BlockNetworks.bits

    def tilted(*arguments):
        says = bits(*arguments).logit
        return Bits(scale * says + logit, torch.zeros_like(says), torch.zeros_like(says))

    monkeypatch.setattr(BlockNetworks, "bits", tilted)


def contexts(geometry):
    """All that an energy model may say: empty layers, layers below the cut, just above it, rich.

    Context of 400 showers, and conditions c.
    """
    energies = geometry.threshold * 10 ** torch.empty(400, geometry.n_layers).uniform_(-2, 5)
    energies *= torch.rand_like(energies) < 0.8
    context = Context(torch.full((400, 1), 1e5), energies)
    return context, shares(geometry).condition(context)


@pytest.fixture(params=["tiny", "image"])
def detector(request, tiny_geometry) -> Geometry:
    return tiny_geometry if request.param == "tiny" else image_geometry()


def drawn_by(head, params, monkeypatch):
    """What a head makes before layers are normalised, (B, V)."""
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(head, "_rescued", lambda x, *_: x)
        patch.setattr(head, "_normalised", lambda x: x)
        return head.sample(params, Noise(0, 0, len(tree_leaves(params)[0])))


def random_params(head, detector):
    """Layers' energies (400, L) and parameters from random raw numbers, in double precision."""
    context, c = contexts(detector)
    raw = torch.randn(400, head.out_dim).double()
    return context.layers.double(), as_double(head.params(raw, c))


def as_double(params):
    """Parameters of a head in double precision."""
    return tree_map(torch.Tensor.double, params)


def double(head, x, c):
    """The same in double precision, where only mistakes differ, and parameters.

    Latents know moments roughly.
    """
    moments = head.moments(x, c)
    moments = moments + 0.1 * torch.randn_like(moments)
    head = head.double()
    energies = head.conditions.layer_energies(c).double()
    x = x.double()
    x = x / head.layers.spread(head.layers.sum(x).clamp(min=1e-12))
    raw = torch.cat([torch.randn(len(x), head.out_dim - head.moment_dim), moments], 1)
    params = as_double(head.params(raw, c))
    return head, x, params._replace(energies=energies / head.cut)


def stopping(x, geometry):
    """Showers of which some layers end early: no light beyond the innermost ring, or one voxel."""
    keep = torch.zeros(3, geometry.n_voxels, dtype=torch.bool)
    keep[0] = True
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        keep[1, part.start : part.stop : layer.n_r] = True
        keep[2, part.start] = True
    x = x.clone()
    x[:, [part.start for part in geometry.slices]] += 0.2 * (geometry.layer_energies(x) > 0)
    x = x * keep[torch.arange(len(x)) % 3]
    return x / geometry.layer_energies(x).clamp(min=1e-12)[:, geometry.layer_index]
