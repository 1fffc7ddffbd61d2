"""A causal transformer, with a memory of what it has read."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from caloman_cli.errors import UserError

Memory = tuple[Tensor, Tensor]
"""Keys and values of a block, (B, H, T, W / H)."""


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        # A bias of keys would add the same to all weights of a query, and so nothing.
        self.asked = nn.Linear(width, 3 * width, bias=False)
        self.answered = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        asked = self.asked(self.before(x)).unflatten(2, (3, self.n_heads, -1))
        query, key, value = asked.permute(2, 0, 3, 1, 4)
        if memory is not None:
            key, value = (torch.cat(pair, 2) for pair in zip(memory, (key, value), strict=True))
        dropout = self.dropout if self.training else 0.0
        # The one token behind a memory may see all of it.
        read = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=memory is None
        )
        x = x + self.drop(self.answered(read.transpose(1, 2).flatten(2)))
        return x + self.drop(self.mlp(self.between(x))), (key, value)


class CausalTransformer(nn.Module):
    """Tokens (B, T, W) -> states (B, T, W), of which none has seen a token behind it.

    Blocks normalise first, as in GPT-2.

    Args:
        width: W.
        n_heads: H.
        n_layers: Blocks.
        dropout: Of attention and of what blocks add, while the model trains.

    Raises:
        UserError: W is no multiple of H.

    References:
        Vaswani et al. (2017), Attention is all you need, arXiv:1706.03762.
        Radford et al. (2019), Language models are unsupervised multitask learners.
    """

    def __init__(self, width: int, n_heads: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        if width % n_heads:
            raise UserError(
                f"density.width={width} is no multiple of density.n_heads={n_heads}: give e.g. "
                f"density.width={width - width % n_heads or n_heads}"
            )
        self.blocks = nn.ModuleList(_Block(width, n_heads, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, memory: list[Memory] | None = None
    ) -> tuple[Tensor, list[Memory]]:
        """States, and the memory of all tokens; behind a memory comes one token a time."""
        kept = []
        for i, block in enumerate(self.blocks):
            tokens, read = block(tokens, None if memory is None else memory[i])
            kept.append(read)
        return self.norm(tokens), kept
