"""What densities that learn to take noise off know at every amount of it."""

import torch
from torch import Tensor

_REPEATS = 4  # draws of noise and time per validation row
_GOLDEN = 0.6180339887498949


def spread_times(like: Tensor) -> Tensor:
    """Times (B,) in [0, 1) for rows (B, A): uniform for each, even over the batch.

    Their mean over the batch varies less than that of independent times.
    """
    even = torch.arange(len(like), device=like.device) / len(like)
    return (even + torch.rand((), device=like.device)) % 1


def fixed_draws(x: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What validates: the same noise and times whenever it is asked for.

    Early stopping then compares models and not draws.

    Args:
        x: Rows, shape (B, A).
        c: Their conditions, shape (B, C).

    Returns:
        Several draws of each row: rows (R, A), noise (R, A), times (R,) in [0, 1), conditions
        (R, C).
    """
    x, c = x.repeat(_REPEATS, 1), c.repeat(_REPEATS, 1)
    generator = torch.Generator(x.device).manual_seed(0)
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    # Multiples of the golden ratio fill [0, 1) evenly however many rows there are.
    t = torch.arange(len(x), device=x.device, dtype=torch.float64) * _GOLDEN % 1
    return x, noise, t.to(x), c


class Denoiser:
    r"""Beside :class:`Density`: predicts the noise :math:`\epsilon` of noisy scaled latents.

    At a time t in [0, 1] noisy latents are :math:`u_t = a(t) u_0 + \sigma(t) \epsilon`, with
    :math:`u_0` of the data and :math:`\epsilon` standard normal: none at t = 0, and hardly
    anything but noise at t = 1. This is a diffusion's clock; that of an :class:`ODE`, which
    draws, runs from noise to data. All is in scaled space, and conditions are what networks see,
    ``density.told(c)``.

    A score follows for each t: :math:`\nabla \log p_t(u | c) = -\hat\epsilon(u, t, c)/\sigma(t)`.

    References:
        Vincent (2011), A connection between score matching and denoising autoencoders.
        Song et al. (2020), Score-based generative modeling through stochastic differential
        equations, arXiv:2011.13456.
    """

    def signal(self, t: Tensor) -> Tensor:
        """a(t), of t's shape; falls from 1 at t = 0."""
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        """The noise's standard deviation at t, of t's shape; rises from 0 at t = 0."""
        raise NotImplementedError

    def time(self, t: Tensor) -> Tensor:
        """The time (B,) of this clock when that of the :class:`ODE` shows t (B,)."""
        return 1 - t

    def epsilon(self, u: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The mean of the noise in noisy latents.

        Args:
            u: Noisy scaled latents, shape (B, A).
            t: Times in (0, 1], shape (B,).
            c: What networks are told, shape (B, ``c_dim``).

        Returns:
            E[epsilon | u_t = u, c], shape (B, A), differentiable, also by ``torch.func``.
        """
        raise NotImplementedError

    def score(self, u: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The gradient of log p_t(u | c), shape (B, A); arguments as of :meth:`epsilon`."""
        return -self.epsilon(u, t, c) / self.sigma(t).unsqueeze(1)
