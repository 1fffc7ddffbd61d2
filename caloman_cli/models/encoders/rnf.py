"""The rectangular flow: a curved manifold with an exact inverse, by maximum likelihood."""

from collections.abc import Sequence
from typing import Annotated

import annotated_types as at
import torch
from torch import Tensor, nn

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Count, Natural, Positive, checked
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.posterior import GaussianPosterior
from caloman_cli.models.encoders.projection import Decoder, Projection
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation
from caloman_cli.models.nn.rectangular import (
    Couplings,
    Householders,
    exact_half_logdet,
    surrogate_half_logdet,
)
from caloman_cli.models.nn.running import Running
from caloman_cli.models.trainable import RowSource

Warmup = Annotated[float, at.Ge(0), at.Le(0.5)]
_THINNEST = 1e-3  # scale of what is beside the plane, in units of that on it


@checked
class RNF(Projection):
    r"""x = f(z, 0) with an invertible f of W numbers: latents are the first D of f^{-1}(x).

    f is affine couplings between z and the rest, then scales and an orthogonal map: it begins as
    the principal plane and bends from there. Loss, with :math:`\hat x = f(g(x), 0)`:

    .. math::
        -\log N(g(x); 0, 1) + \tfrac12 \log\det J^T J + \beta \|x - \hat x\|^2 / \sigma_0^2
        \quad\text{[nats]},

    with :math:`\sigma_0^2` the variance that the plane leaves out in each dimension. The first two
    are the log-likelihood of projected showers on the manifold. Up to ``exact`` latents the
    log-determinant is exact, beyond it its gradient is estimated without bias in training, whose
    ``train/loss`` then means little; validation's is exact always.

    With a head that has no plain mean, the flow is one of what the head shows of a shower, and a
    network learns from z what the head speaks of, see :class:`Projection`; its likelihood does not
    move the manifold.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built; less than W.
        n_layers: Couplings, every other one of z.
        flow_hidden: Hidden widths of their networks.
        beta: Weight of the reconstruction.
        exact: Up to this D the log-determinant is exact.
        probes: Random vectors for each shower, above.
        warmup: The likelihood begins at this part of the training, and counts wholly at twice it.
            What closes on itself is cut open before that, anywhere; at 0, where showers are few.
        power: See :class:`PCA`.
        decoder: See :data:`~caloman_cli.models.encoders.projection.Decoder`.
        hidden: Hidden widths of a learned one, the last one first.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        conditional: Let the couplings, and a learned decoder, see c.
        network: Of a learned decoder, see :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range, D = W, or the head cannot express a plain mean with
            ``decoder=closed``.

    References:
        Caterini, Loaiza-Ganem, Pleiss, Cunningham (2021), Rectangular flows for manifold learning,
        arXiv:2106.01413.
    """

    remedy = "give a higher encoder.beta, a lower encoder.latent_dim, or more epochs"
    center: Tensor
    scales: Tensor

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        n_layers: Count = 6,
        flow_hidden: Sequence[Count] = (128, 128),
        beta: Positive = 10.0,
        exact: Natural = 16,
        probes: Count = 1,
        warmup: Warmup = 0.1,
        power: Natural = 2,
        decoder: Decoder = "auto",
        hidden: Sequence[Count] = (384, 384),
        activation: Activation = "silu",
        conditional: bool = True,
        network: Network = "mlp",
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            latent_dim,
            decoder,
            hidden,
            activation,
            conditional,
            network,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        self.most_latents = self.width - 1
        rest = self.width - self.n_learned
        if not rest:
            what = (
                "voxels" if self.closed else f"features that head={option_of('head', head)} shows"
            )
            raise UserError(
                f"encoder=rnf encoder.latent_dim={self.n_learned}: there are as many {what}, and"
                " nothing is left to project: give a lower latent_dim, or use encoder=identity"
            )
        self.beta, self.exact, self.probes = beta, exact, probes
        self.warmup, self.power = warmup, power
        self.c_seen = c_dim if conditional else 0
        sizes = self.n_learned, rest, self.c_seen
        self.couplings = Couplings(*sizes, n_layers, flow_hidden, activation)
        self.turn = Householders(self.width, self.n_learned)
        self.register_buffer("center", torch.zeros(self.width))
        self.register_buffer("scales", torch.ones(self.width))
        self.register_buffer("sigma", torch.ones(()))
        self.left = Running(torch.ones(()))

    def _fix(self, train: RowSource) -> None:
        """Begin as the principal plane, with latents of variance 1."""
        center, axes, values, rest = self._plane(train, self.power)
        left = (rest / (self.width - self.n_learned)).sqrt()
        root = values.clamp(min=0.0).sqrt()
        floor = _THINNEST * values.clamp(min=0.0).mean().sqrt() + 1e-12
        self.center.copy_(center)
        self.scales[: self.n_learned].copy_(root.clamp(min=floor))
        self.scales[self.n_learned :].copy_(left.clamp(min=floor))
        self.sigma.copy_(left)
        self.turn.begin_at(axes.to(self.center))

    def averaged_buffers(self) -> list[Tensor]:
        return [self.sigma]

    def training_only(self) -> list[nn.Parameter]:
        if self.closed:
            return []
        return [*self.couplings.parameters(), *self.turn.parameters()]

    def _project(self, x: Tensor, c: Tensor) -> Tensor:
        y = self.turn.inverse(self.space(x) - self.center) / self.scales
        z, rest = y.tensor_split([self.n_learned], 1)
        return self.couplings.inverse(z, rest, c[:, : self.c_seen])[0]

    def _bent(self, z: Tensor, c: Tensor) -> Tensor:
        """Points of the manifold before they are turned, which changes no lengths."""
        rest = z.new_zeros(len(z), self.width - self.n_learned)
        return torch.cat(self.couplings(z, rest, c[:, : self.c_seen]), 1) * self.scales

    def _lift(self, z: Tensor, c: Tensor) -> Tensor:
        return self.center + self.turn(self._bent(z, c))

    def half_logdet(self, z: Tensor, c: Tensor) -> Tensor:
        """Of the flow, whatever the head."""
        return half_logdet(self._lift, z[:, : self.n_learned], c)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        z = self._project(x, c)
        far = (self.space(x) - self._lift(z, c)).square().sum(1).mean()
        if self.training:
            self.left.update(far.detach() / (self.width - self.n_learned))
            self.sigma.copy_(self.left.mean.sqrt())
        found = self.beta * far / self.scales[-1].square()
        weight = self._likelihood_weight()
        if weight:
            base = GaussianPosterior(torch.zeros_like(z), torch.ones_like(z))
            found = found + weight * (self._volume(z, c) - base.log_prob(z)).mean()
        return found if self.closed else found + self._unlikely(batch)

    def _volume(self, z: Tensor, c: Tensor) -> Tensor:
        """Half the log-determinant, (B,); in training perhaps numbers with its gradient."""
        if not self.training:
            return half_logdet(self._bent, z, c).to(z)

        # Latents in units of lengths: J^T J begins as 1, conjugate gradients are few.
        root = self.scales[: self.n_learned]

        def decoder(lengths: Tensor) -> Tensor:
            return self._bent(lengths / root, c)

        if self.n_learned <= self.exact:
            return exact_half_logdet(decoder, z * root).to(z) + root.log().sum()
        return surrogate_half_logdet(decoder, z * root, self.probes)

    def _likelihood_weight(self) -> float:
        """It rises with the training's steps; validation takes it whole."""
        if not self.training or not self.warmup:
            return 1.0
        return min(max(self.step.progress / self.warmup - 1.0, 0.0), 1.0)
