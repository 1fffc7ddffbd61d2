r"""log p(shower | E_inc) of a two-step model [nats], per MeV.

Every model has :math:`\log p_E(E_l | E_{inc}) + \log p(E_{vox} | E_l, E_{inc})`. The first term is
the probability of which layers are empty times a density per MeV of each of the others. The second
depends on the encoder:

- ``draws``, where the posterior has a density: with K draws :math:`z_k \sim q(z | x, c)`

  .. math::
      \log \frac1K \sum_k \frac{p(x | z_k, c)\, p_Z(z_k | c)}{q(z_k | x, c)} ,

  a lower bound on average, which rises with K to log p. With a head whose shares sum to one it is
  the probability of which voxels are lit times a density per MeV of all of these but one in each
  layer, so that the whole is **per MeV of each lit voxel**: numbers of two such models can be
  compared. With other heads it is per MeV of *every* voxel, dark ones too. A head whose
  ``log_prob`` is a score keeps its own coordinates.
- ``manifold``, where it is one point and D < V: :math:`\log p_Z(z | c) - \frac12 \log\det J^T J`
  at z = g(x, c), the shower's projection. J is the Jacobian of the whole way from z to MeV, all
  preprocessing included but the readout cut, at fixed layer energies: a density with respect to
  D-dimensional volume in MeV, which compares showers and not models of different D.
- ``voxels``, where it is one point and D = V: the change of variables, per MeV of every voxel,
  or of each lit one where noise stands for the dark ones (:class:`DequantizeZeros`).
- ``codes``, where it is one of finitely many: the term of the shower's own codes.

With ``preprocess.orientation=canonical`` the whole is
:math:`p(x) = \frac{1}{|G|} \sum_g p_c(g x)` of the distribution of canonical showers, whose draws
may be in any orientation. What is given is the term of x's own canonical orientation,
:math:`\log p_c(g^* x) - \log |G|`, times those g that move no layer with energy: all of the whole
on a manifold, which the others' images cross in nothing that has a volume; else a lower bound on
it, exact as far as :math:`p_c` draws canonical showers only.

The readout cut of generated showers, their scaling to the layers' energies and the calibration are
left out.
"""

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from caloman_cli.data.memory import values_at_once
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.kinds import Kind, weakest
from caloman_cli.models.noise import mix
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.preprocess.zeros import DequantizeZeros

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

DRAWS = 256
Way = Literal["draws", "manifold", "voxels", "codes"]
_MEASURES: dict[Way, str] = {
    "draws": "per MeV of every voxel, dark ones too, before generated showers are cut and scaled",
    "manifold": "per MeV of each non-empty layer and of D-dimensional volume on the manifold",
    "voxels": "per MeV of each non-empty layer and of every voxel, before generated ones are "
    "scaled to their layers",
    "codes": "per MeV of every voxel, dark ones too, before generated showers are cut and scaled",
}
_LIT = "probability of which voxels are lit, per MeV of each lit one"
_OWN = "in the head's own coordinates, which compares showers under one model and not models"
_ROWS = 4096  # draws of z at once: a block's are the same whatever the memory
_CACHE_VALUES = 1 << 21  # numbers of a head that exist at once on a CPU
_STREAM = 0x6C6F67  # apart from samples of the same seed


class Likelihood(NamedTuple):
    """log p of B showers [nats], float64.

    Args:
        layers: Of the layers' energies, shape (B,).
        log_weights: Of the voxels given these: log of the K draws' weights, (B, K); one column
            where nothing is drawn.
    """

    layers: Tensor
    log_weights: Tensor

    @property
    def total(self) -> Tensor:
        """log p of the showers, shape (B,)."""
        return self.layers + self.voxels(self.log_weights.shape[1])

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the log-weights, shape (B,); 0 where nothing is drawn."""
        return self.log_weights.std(1, correction=0)

    def voxels(self, draws: int) -> Tensor:
        """log p of the voxels given the layers with so many draws, shape (B,).

        With fewer than K it is the mean over parts of the draws.
        """
        n = self.log_weights.shape[1] // draws
        parts = self.log_weights[:, : n * draws].unflatten(1, (n, draws))
        return (torch.logsumexp(parts, 2) - math.log(draws)).mean(1)


def _way(model: "TwoStep") -> Way:
    """Which of the ways a model's showers have.

    Raises:
        UserError: The encoder can only draw latents.
    """
    encoder = model.encoder
    device = model.preprocess.conditions.mean.device
    nothing = (
        torch.zeros(1, n, device=device) for n in (encoder.head.x_dim, model.preprocess.c_dim)
    )
    if encoder.latents.kind == "codes":
        return "codes"
    with torch.no_grad():
        posterior = encoder.posterior(*nothing)
    if posterior.has_density:
        return "draws"
    return "manifold" if encoder.latent_dim < encoder.head.x_dim else "voxels"


def kind_of(model: "TwoStep") -> Kind:
    """What ``log_prob`` of a model is: the kind of its weakest part, see :data:`Kind`.

    Of all voxels it is a score: the energy model and the voxels both tell a layer's energy.
    """
    if model.encoder.only_draws:
        return "none"
    head, found = model.encoder.head, _way(model)
    of_voxels: Kind = "exact"
    if found in ("draws", "codes"):
        of_voxels = weakest("bound", head.kind if head.sums_to_one else "score")
    elif found == "voxels" or not head.deterministic:
        of_voxels = "score"
    return weakest(of_voxels, model.density.kind, model.energy.kind)


def measure_of(model: "TwoStep") -> str:
    """With respect to what ``log_prob`` of a model is a density, in words."""
    found, head = _way(model), model.encoder.head
    if found in ("draws", "codes") and head.sums_to_one:
        return _OWN if head.kind == "score" else _LIT
    noise = any(isinstance(step, DequantizeZeros) for step in model.preprocess.transforms)
    if found == "voxels" and noise:
        return _MEASURES[found].replace("every voxel", "each lit voxel")
    return _MEASURES[found]


def likelihood_of(
    model: "TwoStep", voxels: Tensor, e_inc: Tensor, draws: int = DRAWS, seed: int = 0
) -> Likelihood:
    """log p of showers under a model, in the way that its encoder has.

    Args:
        model: In evaluation mode.
        voxels: [MeV], shape (B, V).
        e_inc: Incident energies [MeV], shape (B, 1).
        draws: K.
        seed: Of the draws; torch's generators are left as they are.

    Raises:
        UserError: A part has no density, or ``draws`` is below 1.
    """
    if draws < 1:
        raise UserError(f"draws={draws} must be 1 or more, e.g. {DRAWS}")
    context = model.preprocess.context(voxels, e_inc)
    x, c = model.preprocess(voxels, e_inc)
    layers = model.energy.log_prob(context.layers, e_inc).double()
    turns, found = model.preprocess.log_turns(context), _way(model)
    if found == "manifold":
        return Likelihood(layers, (_manifold(model, x, c, context) + turns)[:, None])
    per_mev = _per_mev(model, voxels, x, context) + turns
    if found == "voxels":
        z = model.encoder.encode(x, c)
        volume = model.encoder.half_logdet(z, c)
        of_voxels = model.density.log_prob(z, c).double() - volume + per_mev
        return Likelihood(layers, of_voxels[:, None])
    if found == "codes":
        z = model.encoder.encode(x, c)
        return Likelihood(layers, (_joint(model, z, x, c) + per_mev)[:, None])
    rows = max(1, _ROWS // draws)
    blocks = [
        _weights(model, x[start : start + rows], c[start : start + rows], draws, mix(seed, start))
        for start in range(0, len(x), rows)
    ]
    weights = torch.cat(blocks) if blocks else layers.new_zeros(0, draws)
    return Likelihood(layers, weights + per_mev[:, None])


def _manifold(model: "TwoStep", x: Tensor, c: Tensor, context: Context) -> Tensor:
    """Of the projections of x (B, V), shape (B,)."""
    encoder = model.encoder

    def decoder(z: Tensor, c: Tensor, *of_row: Tensor) -> Tensor:
        mean = encoder.head.mean(encoder.decode(z, c))
        return model.preprocess.inverse(mean, Context(*of_row), readout=False)

    z, given = encoder.encode(x, c), (context.e_inc, context.layers)  # turns keep volumes
    return model.density.log_prob(z, c).double() - half_logdet(decoder, z, c, *given)


def _per_mev(model: "TwoStep", voxels: Tensor, x: Tensor, context: Context) -> Tensor:
    """What makes densities of x such per MeV, shape (B,), float64."""
    head = model.encoder.head
    if not head.sums_to_one:
        return model.preprocess.log_det(voxels, context.e_inc)
    if head.kind == "score":  # of numbers that are not the voxels' energies
        return voxels.new_zeros(len(voxels), dtype=torch.float64)
    lit = model.preprocess.layers.sum((x > 0).double())
    energies = torch.where(context.layers > 0, context.layers, 1.0).double()
    return -((lit - 1.0).clamp(min=0.0) * energies.log()).sum(1)


def _joint(model: "TwoStep", z: Tensor, x: Tensor, c: Tensor) -> Tensor:
    """log p(x, z | c), shape (B,), float64, as many rows at once as memory likes."""
    head = model.encoder.head
    rows = max(1, values_at_once(z.device, _CACHE_VALUES) // head.footprint)
    parts = [
        model.density.log_prob(z_part, c_part).double()
        + head.log_density(model.encoder.decode(z_part, c_part), x_part).double()
        for z_part, x_part, c_part in zip(*(every.split(rows) for every in (z, x, c)), strict=True)
    ]
    return torch.cat(parts)


def _weights(model: "TwoStep", x: Tensor, c: Tensor, draws: int, seed: int) -> Tensor:
    """Log-weights (B, K) of draws from the posterior, before the change to MeV."""
    posterior = model.encoder.posterior(x, c)
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(mix(seed, _STREAM))
        z = torch.stack([posterior.sample() for _ in range(draws)])
    log_q = torch.stack([posterior.log_prob(one) for one in z]).double()
    x, c = (rows.expand(draws, *rows.shape).flatten(0, 1) for rows in (x, c))
    return (_joint(model, z.flatten(0, 1), x, c).unflatten(0, (draws, -1)) - log_q).T
