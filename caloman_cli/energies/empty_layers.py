"""Which layers see energy at all: an exact distribution of L bits."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.nn.mlp import MLP


class EmptyLayers(nn.Module):
    r"""p(m | context) of bits m (B, L), factorised exactly, bit by bit.

    :math:`p(m \mid c) = \prod_i \mathrm{Bernoulli}(m_i \mid m_{<i}, c)`: one masked network gives
    all L logits in a pass, so that 45 layers cost no 2^45 classes. Sampling takes L passes.

    Args:
        n_layers: L.
        context_dim: Width of the context, which every hidden unit sees.
        hidden: Width of the two hidden layers.

    References:
        Germain, Gregor, Murray, Larochelle (2015), MADE, arXiv:1502.03509.
    """

    mask_in: Tensor
    mask_hidden: Tensor
    mask_out: Tensor

    def __init__(self, n_layers: int, context_dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.n_layers = n_layers
        self.bits_in = nn.Linear(n_layers, hidden)
        self.context_in = nn.Linear(context_dim, hidden, bias=False)
        self.inner = nn.Linear(hidden, hidden)
        self.context_inner = nn.Linear(context_dim, hidden, bias=False)
        self.out = nn.Linear(hidden, n_layers)
        self.direct = MLP(context_dim, [hidden], n_layers, "silu")
        # A unit of degree d depends on the bits before d and on the context. The units per
        # degree are few for many layers, hence a direct path from the context to every bit.
        degree = torch.arange(hidden) % n_layers
        layer = torch.arange(n_layers)
        masks = {
            "mask_in": degree[:, None] > layer[None, :],
            "mask_hidden": degree[:, None] >= degree[None, :],
            "mask_out": layer[:, None] >= degree[None, :],
        }
        for name, mask in masks.items():
            self.register_buffer(name, mask.float(), persistent=False)

    @torch.no_grad()
    def start_at(self, filled: Tensor, n: int) -> None:
        """Begin with the rates of the training split.

        A layer that is empty once in ten thousand showers needs a logit of 9: gradients, which
        are as rare as its empty showers, would take far too long to get there from 0.

        Args:
            filled: How many showers have each bit set, shape (L,).
            n: Number of showers.
        """
        self.out.bias.copy_(torch.log((filled + 0.5) / (n - filled + 0.5)))

    def logits(self, bits: Tensor, context: Tensor) -> Tensor:
        """Logit of each bit given the bits before it, shape (B, L)."""
        return self._causal(bits, self.context_in(context), self.context_inner(context)) + (
            self.direct(context)
        )

    def _causal(self, bits: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """What the bits before each bit say; ``first`` and ``second`` bring in the context."""
        masked = F.linear(bits, self.bits_in.weight * self.mask_in, self.bits_in.bias)
        hidden = F.silu(masked + first)
        masked = F.linear(hidden, self.inner.weight * self.mask_hidden, self.inner.bias)
        hidden = F.silu(masked + second)
        return F.linear(hidden, self.out.weight * self.mask_out, self.out.bias)

    def log_prob(self, bits: Tensor, context: Tensor) -> Tensor:
        """log p(m | context) [nats], shape (B,)."""
        logits = self.logits(bits, context)
        return -F.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(1)

    def sample(self, context: Tensor, uniform: Tensor) -> Tensor:
        """Bits (B, L) as 0.0 or 1.0, from uniform numbers (B, L)."""
        first, second = self.context_in(context), self.context_inner(context)
        # u < sigmoid(logit) is logit(u) < logit: one logarithm for all bits, none in the loop.
        threshold = torch.logit(uniform) - self.direct(context)
        bits = torch.zeros_like(uniform)
        for i in range(self.n_layers):
            logit = self._causal(bits, first, second)[:, i]
            bits[:, i] = (threshold[:, i] < logit).to(bits.dtype)
        return bits
