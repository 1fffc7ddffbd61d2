"""The networks of a halving: what is told of layers, and of what is next to patches."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_START = 0.3  # of the raw numbers' width, at first


class HalvingNetwork(nn.Module):
    """What is told of layers -> raw numbers of the patches that are halved.

    A perceptron reads the decoder's state and all patches of a layer; others read what is next to
    each patch that is halved, so that what is local need not share the first one's hidden units.
    Patches that differ by their angle share these: a shower looks the same if it is turned.
    Rows of showers are last.

    Args:
        all_of: Rows of the table that the first one reads, int64 (M, G), of G layers.
        next_to: Those that the others read, int64 (H, N, G).
        kinds: Which of the others is each patch's, int64 (H,).
        hidden: Width of the first one.
        local: Width of the others.
        raw: P.
        gain: Of what the others say, which is nothing at first: an optimiser's step moves it so
            much further.

    Attributes:
        footprint: Numbers per shower that exist at once.
    """

    all_of: Tensor
    next_to: Tensor
    kinds: Tensor

    def __init__(
        self,
        all_of: Tensor,
        next_to: Tensor,
        kinds: Tensor,
        hidden: int,
        local: int,
        raw: int,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.gain = gain
        self.halved, read, self.layers = next_to.shape
        n = int(kinds.max()) + 1
        self.hears = nn.Linear(len(all_of), hidden)
        self.says = nn.Parameter(torch.randn(self.halved * raw, hidden) * _START / hidden**0.5)
        self.looks = nn.Parameter(torch.randn(n, local, read) / read**0.5)
        self.sees = nn.Parameter(torch.randn(n, local, 1) / read**0.5)
        self.adds = nn.Parameter(torch.zeros(n, raw, local))
        self.bias = nn.Parameter(torch.zeros(self.halved, raw, 1))
        self.register_buffer("all_of", all_of.flatten(), persistent=False)
        self.register_buffer("next_to", next_to.flatten(), persistent=False)
        self.register_buffer("kinds", kinds, persistent=False)
        said = hidden + self.halved * (local + 2 * raw)
        self.footprint = all_of.numel() + next_to.numel() + said * self.layers

    def forward(self, table: Tensor) -> Tensor:
        """Of a table (R, B) of what is known, (P, H times G, B)."""
        n = table.shape[1]
        dense = table.index_select(0, self.all_of).view(-1, self.layers * n)
        h = F.silu(torch.addmm(self.hears.bias.unsqueeze(1), self.hears.weight, dense))
        of_all = torch.mm(self.says, h).view(self.halved, -1, self.layers * n)
        close = table.index_select(0, self.next_to).view(self.halved, -1, self.layers * n)
        looks, sees, adds = (
            x.index_select(0, self.kinds) for x in (self.looks, self.sees, self.adds)
        )
        h = F.silu(torch.baddbmm(sees, looks, close))
        raw = torch.baddbmm(of_all, adds, h, alpha=self.gain) + self.bias
        return raw.view(self.halved, -1, self.layers, n).transpose(0, 1).flatten(1, 2)
