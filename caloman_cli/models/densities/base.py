"""The contract of a density model on the latent space."""

from typing import Any, Literal

import torch
from torch import Tensor

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Fraction, Positive
from caloman_cli.errors import UserError
from caloman_cli.models.checks import require
from caloman_cli.models.kinds import Kind, weakest
from caloman_cli.models.latents import LatentKind, Latents
from caloman_cli.models.nn.langevin import FEW_ROWS
from caloman_cli.models.nn.scaler import Scaler, ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, Trainable

Noising = Literal["none", "additive", "tweedie", "conditional"]


class Density(Trainable):
    r"""Learns p(z | c) of latents z (B, D) given conditions c (B, C).

    A batch of training rows is the tuple (z, c). Latents are scaled here, conditions are taken as
    they come. A new density writes three methods, all in scaled space u (B, A) of the A active
    dimensions: ``_build``, ``_sample`` and ``_log_prob``; and ``loss``, which begins with
    :meth:`scaled`, where maximum likelihood is not the objective.

    Latents may lie on something thinner than space, where a likelihood has no maximum. With
    ``noise`` the model learns :math:`u + \sigma\epsilon` instead:

    - ``additive``: and that is what it draws;
    - ``tweedie``: what it draws is taken to where it came from on average,
      :math:`u + \sigma^2 \nabla \log p(u | c)`, which takes off the noise, and a part
      :math:`\sigma^2 / (\lambda + \sigma^2)` of the latents' own variance :math:`\lambda` too;
      ``log_prob`` stays that of noisy latents;
    - ``conditional``: each row has its own sigma, between 0 and ``noise_sigma``, which the
      networks are told; samples and ``log_prob`` are those at 0.

    Args:
        scaler: ``standardize``, ``whiten``, ``max_abs`` or ``none``, see
            :class:`~caloman_cli.models.nn.scaler.Scaler`.
        prune: Dimensions whose variance, for latents that of the posterior means, is below this
            fraction of the largest are not learned: they are independent normals. 0 keeps all but
            constant dimensions.
        noise: ``none``, ``additive``, ``tweedie`` or ``conditional``, see above.
        noise_sigma: Its standard deviation in scaled units.
        latents: What the encoder hands over (given at build time, never in YAML).
        c_dim: Condition width C (given at build time, never in YAML).

    Attributes:
        kind: What :meth:`log_prob` is, see :data:`~caloman_cli.models.kinds.Kind`.
        accepts: The kinds of latents that it learns.
        needs_grad: Whether ``_sample`` takes gradients, as Langevin dynamics do; they are off
            everywhere else while showers are drawn.
        z_dim: D.
        c_dim: Width of the conditions that networks see: C, and one more where they are told of
            the noise.

    Raises:
        UserError: A hyper-parameter is out of range, the latents are of another kind, or noise
            is asked for where there is none to add or to take off.

    References:
        Loaiza-Ganem et al. (2023), Denoising deep generative models, arXiv:2212.01265.
    """

    kind: Kind = "exact"
    accepts: tuple[LatentKind, ...] = ("real",)
    needs_grad: bool = False

    def __init__(
        self,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__()
        latents.require(self.accepts, option_of("density", self))
        self.latents, self.z_dim = latents, latents.dim
        self.noising, self.noise_sigma = noise, noise_sigma
        self.c_dim = c_dim + (noise == "conditional")
        if noise != "none" and latents.kind == "codes":
            raise UserError(f"density.noise={noise}: codes take no noise, give density.noise=none")
        if noise == "tweedie":
            if self.kind == "none":
                raise UserError(
                    f"density.noise=tweedie follows log_prob, which density="
                    f"{option_of('density', self)} does not have: give density.noise=conditional"
                )
            self.kind = weakest(self.kind, "score")
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
        if self.needs_grad or self.noising == "tweedie":
            # A tensor made in inference mode cannot enter a graph, a copy of it can.
            with torch.inference_mode(False), torch.set_grad_enabled(self.needs_grad):
                told = self.told(c.clone())
                u = self._sample(told, noise).detach()
                if self.noising == "tweedie":
                    u = self._cleaned(u, told)
        else:
            u = self._sample(self.told(c), noise)
        z = self.scaler.inverse(u, noise)
        require(torch.isfinite(z).all(), lambda: self._not_finite(z))
        return z

    def _not_finite(self, z: Tensor) -> str:
        rows = int((~torch.isfinite(z)).any(1).sum())
        return (
            f"density={option_of('density', self)} drew {rows} of {len(z)} latents that are not "
            "finite; its training diverged or its conditions are far outside the training data"
        )

    def log_prob(self, z: Tensor, c: Tensor) -> Tensor:
        """log p(z | c) [nats], shape (B,), in the units of z as given (scaling included)."""
        u, log_det = self.scaler(z)
        return self._log_prob(u, self.told(c)) + log_det

    def told(self, c: Tensor) -> Tensor:
        """What networks see of conditions c (B, C) where there is no noise, (B, ``c_dim``)."""
        return torch.cat([c, c.new_zeros(len(c), 1)], 1) if self.noising == "conditional" else c

    def scaled(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """What is to be learned from a batch, with its noise, which is always the same unless
        the model trains.

        Returns:
            u (B, A), what networks are told (B, ``c_dim``), and log|du/dz| (B,), see
            :class:`~caloman_cli.models.nn.scaler.Scaler`.
        """
        z, c = batch
        u, log_det = self.scaler(z)
        if self.noising == "none":
            return u, c, log_det
        generator = None if self.training else torch.Generator(u.device).manual_seed(0)
        sigma = u.new_full((len(u), 1), self.noise_sigma)
        if self.noising == "conditional":
            share = torch.rand(len(u), 1, generator=generator, device=u.device)
            c, sigma = torch.cat([c, share], 1), sigma * share
        epsilon = torch.randn(u.shape, generator=generator, device=u.device)
        return u + sigma * epsilon, c, log_det

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """The objective: the mean of -log p(z | c) [nats] unless the model says otherwise."""
        u, c, log_det = self.scaled(batch)
        return -(self._log_prob(u, c) + log_det).mean()

    def _cleaned(self, u: Tensor, c: Tensor) -> Tensor:
        """What noisy latents were on average before the noise: Tweedie's formula."""
        parts = []
        for noisy, known in zip(u.split(FEW_ROWS), c.split(FEW_ROWS), strict=True):
            with torch.enable_grad():
                noisy = noisy.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self._log_prob(noisy, known).sum(), noisy)
            parts.append((noisy + self.noise_sigma**2 * slope).detach())
        return torch.cat(parts)

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
