r"""Injective maps of D numbers to W > D, with a left inverse and the volume that they give.

A rectangular flow is an invertible map of W numbers at points whose last W - D are zero.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from caloman_cli.models.nn.forward_mode import jvp
from caloman_cli.models.nn.mlp import MLP, Activation

_LOG_SCALE = 3.0  # of a coupling, at most
_NEAR = 1e-3  # of conjugate gradients, relative
Decoder = Callable[[Tensor], Tensor]


class Householders(nn.Module):
    r"""An orthogonal map of W numbers that is learned: a product of D reflections.

    With vectors V (W, D) it is :math:`Q = I - V S^{-1} V^T`, S the upper triangle of :math:`V^T V`
    with half its diagonal. For any V it is orthogonal, and any D directions are the images of the
    first D for some V.

    Args:
        width: W.
        dim: D.

    References:
        Schreiber, Van Loan (1989), A storage-efficient WY representation for products of
        Householder transformations, SIAM J. Sci. Stat. Comput. 10, 53.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.eye(width, dim))

    @torch.no_grad()
    def begin_at(self, axes: Tensor) -> None:
        """Have the first D directions go to orthonormal ones (D, W), up to signs."""
        found = torch.geqrf(axes.T)[0].tril(-1)
        self.vectors.copy_(found + torch.eye(*found.shape).to(found))

    def forward(self, y: Tensor) -> Tensor:
        """Q y of rows (B, W)."""
        return y - self._solved(y @ self.vectors, upper=True) @ self.vectors.T

    def inverse(self, x: Tensor) -> Tensor:
        """Q^T x of rows (B, W)."""
        return x - self._solved(x @ self.vectors, upper=False) @ self.vectors.T

    def _solved(self, seen: Tensor, upper: bool) -> Tensor:
        """S^-1, or its transposed, of rows (B, D)."""
        gram = self.vectors.T @ self.vectors
        s = gram.triu(1) + torch.diag(0.5 * gram.diagonal())
        s = s if upper else s.T
        return torch.linalg.solve_triangular(s, seen.T, upper=upper).T


class Couplings(nn.Module):
    """Affine couplings between z (B, D) and the rest (B, R), first of the rest; 1 as they begin.

    Args:
        dim: D.
        rest: R.
        c_dim: Width of the condition that the networks see.
        n_layers: Couplings.
        hidden: Hidden widths of each network.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.

    References:
        Dinh, Sohl-Dickstein, Bengio (2017), Density estimation using Real NVP, arXiv:1605.08803.
    """

    def __init__(
        self,
        dim: int,
        rest: int,
        c_dim: int,
        n_layers: int,
        hidden: Sequence[int],
        activation: Activation,
    ) -> None:
        super().__init__()
        sizes = [(dim, rest) if n % 2 == 0 else (rest, dim) for n in range(n_layers)]
        nets = [MLP(seen + c_dim, hidden, 2 * moved, activation) for seen, moved in sizes]
        for net in nets:
            for parameter in net[-1].parameters():
                nn.init.zeros_(parameter)
        self.nets = nn.ModuleList(nets)

    def forward(self, z: Tensor, rest: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Through all of them."""
        parts = [z, rest]
        for n, net in enumerate(self.nets):
            seen, moved = n % 2, 1 - n % 2
            scale, shift = self._said(net, parts[seen], c)
            parts[moved] = parts[moved] * scale.exp() + shift
        return parts[0], parts[1]

    def inverse(self, z: Tensor, rest: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Back."""
        parts = [z, rest]
        for n, net in reversed(list(enumerate(self.nets))):
            seen, moved = n % 2, 1 - n % 2
            scale, shift = self._said(net, parts[seen], c)
            parts[moved] = (parts[moved] - shift) * (-scale).exp()
        return parts[0], parts[1]

    @staticmethod
    def _said(net: nn.Module, seen: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of scales, and shifts."""
        scale, shift = net(torch.cat([seen, c], 1)).chunk(2, 1)
        return _LOG_SCALE * torch.tanh(scale / _LOG_SCALE), shift


def exact_half_logdet(decoder: Decoder, z: Tensor) -> Tensor:
    r""":math:`\frac12 \log\det J^T J` by D slopes in forward mode, differentiable, (B,), float64.

    The factorisation is Cholesky's in double precision: for training, where J is of full rank; see
    :func:`~caloman_cli.models.encoders.jacobian.half_logdet` for any decoder.

    Args:
        decoder: z (B, D) -> (B, W), row by row.
        z: (B, D).
    """

    def along(direction: Tensor) -> Tensor:
        return jvp(decoder, (z,), (direction.expand_as(z),))[1]

    slopes = torch.func.vmap(along)(torch.eye(z.shape[1], dtype=z.dtype, device=z.device))
    slopes = slopes.double().transpose(0, 1)  # (B, D, W)
    factor = torch.linalg.cholesky(slopes @ slopes.mT)
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def surrogate_half_logdet(decoder: Decoder, z: Tensor, probes: int = 1) -> Tensor:
    r"""Numbers (B,) whose gradient is that of :math:`\frac12 \log\det J^T J` on average.

    :math:`\frac12 (J s)^T (J e)` with e ~ N(0, 1) and :math:`s = (J^T J)^{-1} e`, taken for a
    constant, from conjugate gradients: some slopes of each kind instead of D, and J is nowhere
    held. Its *value* is about D / 2 and says nothing.

    Args:
        decoder: z (B, D) -> (B, W), row by row.
        z: (B, D).
        probes: Vectors e for each row.

    References:
        Caterini, Loaiza-Ganem, Pleiss, Cunningham (2021), Rectangular flows for manifold learning,
        arXiv:2106.01413.
    """
    found = z.new_zeros(len(z))
    for _ in range(probes):
        e = torch.randn_like(z)
        s = _solved(decoder, z.detach(), e)
        both = (jvp(decoder, (z,), (v,))[1] for v in (s, e))
        one, other = both
        found = found + 0.5 * (one * other).sum(1) / probes
    return found


@torch.no_grad()
def _solved(decoder: Decoder, z: Tensor, e: Tensor) -> Tensor:
    """(J^T J)^-1 e of rows (B, D), by conjugate gradients."""
    pull = torch.func.vjp(decoder, z)[1]
    s, r, p = torch.zeros_like(z), e, e
    square = r.square().sum(1, keepdim=True)
    enough = _NEAR**2 * square
    for _ in range(z.shape[1]):
        image = pull(jvp(decoder, (z,), (p,))[1])[0]
        step = square / (p * image).sum(1, keepdim=True).clamp(min=1e-30)
        s, r = s + step * p, r - step * image
        before, square = square, r.square().sum(1, keepdim=True)
        if bool((square <= enough).all()):
            break
        p = r + square / before.clamp(min=1e-30) * p
    return s
