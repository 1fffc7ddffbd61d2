"""The contract of a density model on the latent space."""

from typing import Any

import torch
from torch import Tensor

from caloman_cli.config.values import Fraction
from caloman_cli.models.kinds import Kind
from caloman_cli.models.latents import LatentKind, Latents
from caloman_cli.models.nn.scaler import Scaler, ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, Trainable


class Density(Trainable):
    """Learns p(z | c) of latents z (B, D) given conditions c (B, C).

    A batch of training rows is the tuple (z, c). Latents are scaled here, conditions are taken as
    they come. A new density writes three methods, all in scaled space u (B, A) of the A active
    dimensions: ``_build``, ``_sample`` and ``_log_prob``; and ``loss`` where maximum likelihood
    is not the objective.

    Args:
        scaler: ``standardize``, ``whiten``, ``max_abs`` or ``none``, see
            :class:`~caloman_cli.models.nn.scaler.Scaler`.
        prune: Dimensions whose variance, for latents that of the posterior means, is below this
            fraction of the largest are not learned: they are independent normals. 0 keeps all but
            constant dimensions.
        latents: What the encoder hands over (given at build time, never in YAML).
        c_dim: Condition width C (given at build time, never in YAML).

    Attributes:
        kind: What :meth:`log_prob` is, see :data:`~caloman_cli.models.kinds.Kind`.
        accepts: The kinds of latents that it learns.
        needs_grad: Whether ``_sample`` takes gradients, as Langevin dynamics do; they are off
            everywhere else while showers are drawn.
        z_dim: D.

    Raises:
        UserError: A hyper-parameter is out of range, or the latents are of another kind.
    """

    kind: Kind = "exact"
    accepts: tuple[LatentKind, ...] = ("real",)
    needs_grad: bool = False

    def __init__(
        self,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__()
        latents.require(self.accepts, type(self).__name__)
        self.latents, self.z_dim, self.c_dim = latents, latents.dim, c_dim
        self.scaler = Scaler(scaler, prune, self.z_dim)

    def prepare(self, train: RowSource) -> None:
        """Fit the scaling; where dimensions are pruned, build the networks anew without them."""
        before = self.scaler.n_active
        self.scaler.fit(train)
        if self.scaler.n_active != before:
            self._rebuild(self.scaler.n_active)

    def sample(self, c: Tensor, noise: Noise) -> Tensor:
        """Draw z (B, D): row i for condition i.

        Raises:
            FloatingPointError: Where a latent is not finite.
        """
        if self.needs_grad:
            # A tensor made in inference mode cannot enter a graph, a copy of it can.
            with torch.inference_mode(False), torch.enable_grad():
                u = self._sample(c.clone(), noise).detach()
        else:
            u = self._sample(c, noise)
        z = self.scaler.inverse(u, noise)
        if not torch.isfinite(z).all():
            rows = int((~torch.isfinite(z)).any(1).sum())
            raise FloatingPointError(
                f"{type(self).__name__} drew {rows} of {len(z)} latents that are not finite; "
                "its training diverged or its conditions are far outside the training data"
            )
        return z

    def log_prob(self, z: Tensor, c: Tensor) -> Tensor:
        """log p(z | c) [nats], shape (B,), in the units of z as given (scaling included)."""
        u, log_det = self.scaler(z)
        return self._log_prob(u, c) + log_det

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """The objective: the mean of -log p(z | c) [nats] unless the model says otherwise."""
        z, c = batch
        return -self.log_prob(z, c).mean()

    def _build(self, dim: int) -> None:
        """Make the networks for ``dim`` scaled dimensions."""
        raise NotImplementedError

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        """Draw u (B, A) for conditions c (B, C)."""
        raise NotImplementedError

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        """log p(u | c), shape (B,), in scaled space."""
        raise NotImplementedError

    def _rebuild(self, dim: int) -> None:
        self._build(dim)
        self.to(self.scaler.mean.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A pruned model has smaller networks than a fresh one: make them before they are filled.
        active = state_dict.get(f"{prefix}scaler.active")
        if active is not None and int(active.sum()) != self.scaler.n_active:
            self._rebuild(int(active.sum()))
        super()._load_from_state_dict(state_dict, prefix, *args)
