"""Affine scaling of vectors, with its log-determinant."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from caloman_cli.config.values import checked
from caloman_cli.errors import UserError
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import DrawnRows, RowSource, iterate

ScalerKind = Literal["standardize", "whiten", "max_abs", "none"]
CONSTANT = 1e-12  # relative variance below which float32 numbers are a constant
_CHUNK = 65_536


@checked
class Scaler(nn.Module):
    """z (B, D) <-> u (B, A): drop inactive dimensions, then scale the A active ones.

    Inactive are dimensions whose variance is at most ``prune`` times the largest one. Where rows
    are drawn, as posterior samples are, the variance of their means counts: a latent that an
    encoder does not use has the prior's variance all the same. Scaling a dead latent to unit
    variance would hand its numerical noise to the density model as if it were physics. Constant
    dimensions are always inactive.

    Args:
        kind: ``standardize`` (per-dimension mean and std), ``whiten`` (zero mean, identity
            covariance, axes kept as close as possible), ``max_abs`` (divide by the largest
            absolute value, no shift) or ``none``.
        prune: Relative variance below which a dimension is inactive; 0 keeps all but constants.
        dim: D.

    Raises:
        UserError: For an unknown kind or a ``prune`` outside [0, 1).
    """

    active: Tensor
    mean: Tensor
    std: Tensor
    shift: Tensor
    scale: Tensor
    matrix: Tensor
    inverse_matrix: Tensor
    log_det: Tensor

    def __init__(self, kind: str, prune: float, dim: int) -> None:
        super().__init__()
        self.kind, self.prune = kind, prune
        self.register_buffer("active", torch.ones(dim, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        if kind == "whiten":
            self.register_buffer("matrix", torch.eye(dim))
            self.register_buffer("inverse_matrix", torch.eye(dim))
        self.register_buffer("log_det", torch.zeros(()))

    settled: int | None = None
    """A, while a graph is traced, which cannot ask a buffer for it."""

    @property
    def n_active(self) -> int:
        """A."""
        return int(self.active.sum()) if self.settled is None else self.settled

    def fit(self, train: RowSource) -> None:
        """Set the statistics from rows (z, ...), computed in float64.

        Raises:
            UserError: Where no dimension varies.
        """
        mean, variance = _moments(train)
        active = variance > CONSTANT * variance.max()
        if self.prune:
            used = _moments(train.means())[1] if isinstance(train, DrawnRows) else variance
            active = active & (used > self.prune * used.max())
        if not active.any():
            raise UserError(
                f"all {len(mean)} latent dimensions are constant over {len(train)} showers; "
                "the encoder collapsed: train it longer, or lower its KL weight"
            )
        shift, scale = torch.zeros_like(mean), torch.ones_like(mean)
        if self.kind in ("standardize", "whiten"):
            shift, scale = mean, variance.sqrt()
        elif self.kind == "max_abs":
            scale = torch.stack([z.abs().amax(0) for z in _vectors(train)]).amax(0)
        scale = torch.where(active, scale, 1.0)
        log_det = -scale.log().sum()
        if self.kind == "whiten":
            matrix, inverse, change = _whitening(train, shift, scale, active)
            self._set(matrix=matrix, inverse_matrix=inverse)
            log_det = log_det + change
        self._set(mean=mean, std=variance.sqrt(), shift=shift, scale=scale, log_det=log_det)
        self.active.copy_(active)

    def _set(self, **statistics: Tensor) -> None:
        for name, value in statistics.items():
            getattr(self, name).copy_(value)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u (B, A), and log|du/dz| plus the log-density of the inactive dimensions, (B,).

        Inactive dimensions are independent normals; constant ones carry no density and are left
        out.
        """
        u = (z - self.shift) / self.scale
        if self.kind == "whiten":
            u = u @ self.matrix
        log_det = self.log_det.expand(len(z))
        if self.n_active == len(self.active):
            return u, log_det
        varies = ~self.active & (self.std.square() > CONSTANT * self.std.square().max())
        std = torch.where(varies, self.std, 1.0)
        normal = ((z - self.mean) / std).square() + 2 * std.log() + math.log(2 * math.pi)
        return u[:, self.active], log_det - 0.5 * (normal * varies).sum(1)

    def inverse(self, u: Tensor, noise: Noise) -> Tensor:
        """z (B, D); inactive dimensions are drawn from N(mean, std) of the training latents."""
        pruned = u.shape[1] < len(self.active)  # which a compiler knows, and not what is active
        if pruned:
            place = (self.active.cumsum(0) - 1).clamp(min=0)
            u = torch.where(self.active, u.index_select(1, place), 0.0)
        if self.kind == "whiten":
            u = u @ self.inverse_matrix
        z = u * self.scale + self.shift
        if not pruned:
            return z
        drawn = noise.normal(len(self.active)).to(z) * self.std + self.mean
        return torch.where(self.active, z, drawn)


def _vectors(train: RowSource) -> Iterator[Tensor]:
    """The first member of the rows, chunk by chunk, in float64."""
    for rows in iterate(train, _CHUNK):
        yield rows[0].double()


def _average(train: RowSource, total: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over rows of something that comes summed over a chunk."""
    return torch.stack([total(z) for z in _vectors(train)]).sum(0) / len(train)


def _moments(train: RowSource) -> tuple[Tensor, Tensor]:
    """Mean and variance of each dimension."""
    mean = _average(train, lambda z: z.sum(0))
    return mean, _average(train, lambda z: (z - mean).square().sum(0))


def _whitening(
    train: RowSource, shift: Tensor, scale: Tensor, active: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The symmetric square roots of the inverse correlation and of the correlation, and log|det|.

    Shapes (D, D), (D, D), (). Inactive dimensions keep to themselves.
    """

    def products(z: Tensor) -> Tensor:
        u = (z - shift) / scale
        return u.T @ u

    pairs = active.unsqueeze(0) & active.unsqueeze(1)
    eye = torch.eye(len(active), dtype=shift.dtype, device=shift.device)
    correlation = torch.where(pairs, _average(train, products), eye)
    values, vectors = torch.linalg.eigh(correlation)
    # Exactly dependent dimensions have eigenvalue zero up to rounding.
    values = values.clamp(min=CONSTANT * values.max())
    matrix = vectors * values.rsqrt() @ vectors.T
    inverse = vectors * values.sqrt() @ vectors.T
    return matrix, inverse, -0.5 * values.log().sum()
