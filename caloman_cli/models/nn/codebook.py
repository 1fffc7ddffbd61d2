"""Words for vectors, and bins for numbers: how real numbers become codes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROWS = 1 << 16  # vectors that are compared with all words at once
_LITTLE = 1e-12


class Codebook(nn.Module):
    r"""K words of W numbers, each the mean of the vectors that it is the nearest of.

    The mean is an exponential moving one, over the batches that :meth:`follow` sees, and so is
    the share of all vectors that a word stands for. Its decay rises, min(decay, (1 + t) /
    (10 + t)) in batch t = 0, 1, ..., since vectors move fast at first. A word whose share falls
    below ``dead`` / K becomes a random vector of the batch, with the share 1 / K to begin with:
    else what no vector is near to would never move again.

    Args:
        n_codes: K.
        width: W.
        decay: Of the means.
        dead: See above; 0: words may die.

    Attributes:
        words: (K, W).
        share: (K,), which sum to one.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural discrete representation learning,
        arXiv:1711.00937.
        Razavi, van den Oord, Vinyals (2019), Generating diverse high-fidelity images with
        VQ-VAE-2, arXiv:1906.00446.
        Dhariwal et al. (2020), Jukebox: a generative model for music (random restarts),
        arXiv:2005.00341.
    """

    words: Tensor
    share: Tensor
    steps: Tensor

    def __init__(self, n_codes: int, width: int, decay: float, dead: float) -> None:
        super().__init__()
        self.decay, self.dead = decay, dead
        self.register_buffer("words", torch.randn(n_codes, width))
        self.register_buffer("share", torch.full((n_codes,), 1.0 / n_codes))
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def begin(self, vectors: Tensor) -> None:
        """Take words from vectors (N, W), far from each other.

        References:
            Arthur, Vassilvitskii (2007), k-means++: the advantages of careful seeding.
        """
        far, chance = None, vectors.new_ones(len(vectors))
        for word in self.words:
            word.copy_(vectors[torch.multinomial(chance, 1)[0]])
            away = (vectors - word).square().sum(1)
            far = away if far is None else torch.minimum(far, away)
            chance = far + _LITTLE
        counts = torch.bincount(self.nearest(vectors), minlength=len(self.words))
        self.share.copy_(counts / len(vectors))

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """The nearest word of each vector (\\*, W), int64 (\\*)."""
        half = 0.5 * self.words.square().sum(1)
        parts = vectors.flatten(0, -2).split(_ROWS)
        found = torch.cat([(half - part @ self.words.T).argmin(1) for part in parts])
        return found.view(vectors.shape[:-1])

    def forward(self, codes: Tensor) -> Tensor:
        """The words of codes (\\*), (\\*, W)."""
        return functional.embedding(codes.long(), self.words)

    @torch.no_grad()
    def follow(self, vectors: Tensor, codes: Tensor) -> None:
        """Move to vectors (\\*, W) that were given codes (\\*)."""
        vectors, codes = vectors.flatten(0, -2), codes.flatten()
        step, n = 1.0 - ((1 + self.steps) / (10 + self.steps)).clamp(max=self.decay), len(vectors)
        self.steps.add_(1)
        new = torch.bincount(codes, minlength=len(self.words)).to(vectors) / n
        total = torch.zeros_like(self.words).index_add_(0, codes, vectors) / n
        self.share.add_(step * (new - self.share))
        # The mean of all so far, without a sum of its own, which a word unseen would underflow.
        away = total - new.unsqueeze(1) * self.words
        self.words.add_(step * away / self.share.clamp(min=_LITTLE).unsqueeze(1))
        if self.dead:
            dead = self.share < self.dead / len(self.share)
            other = vectors[torch.randint(n, (len(self.words),), device=vectors.device)]
            self.words.copy_(torch.where(dead.unsqueeze(1), other, self.words))
            self.share.copy_(torch.where(dead, 1.0 / len(self.share), self.share))
            self.share.div_(self.share.sum())

    def perplexity(self) -> Tensor:
        """How many words are in use, were they used alike: exp of the entropy of their shares."""
        return torch.special.entr(self.share).sum().exp()


class Bins(nn.Module):
    """M real numbers <-> codes of K: bins with as many training rows each.

    Args:
        dim: M.
        n_codes: K.

    Attributes:
        edges: (M, K - 1), upper ones, halfway between the training numbers beside them: one at
            a number would leave the code of that very shower to rounding.
        values: (M, K), the means of the bins' numbers.
    """

    edges: Tensor
    values: Tensor

    def __init__(self, dim: int, n_codes: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.linspace(-2.0, 2.0, n_codes - 1).repeat(dim, 1))
        self.register_buffer("values", torch.linspace(-2.0, 2.0, n_codes).repeat(dim, 1))

    @torch.no_grad()
    def fit(self, numbers: Tensor) -> None:
        """Of numbers (N, M)."""
        n_codes = self.values.shape[1]
        rising = numbers.sort(0).values.T.contiguous()
        above = torch.arange(1, n_codes, device=numbers.device) * len(numbers) // n_codes
        below = (above - 1).clamp(min=0)
        self.edges.copy_(0.5 * (rising[:, below] + rising[:, above]))
        codes = self.forward(rising.T).T.long()
        counts = torch.zeros_like(self.values).scatter_add_(1, codes, torch.ones_like(rising))
        total = torch.zeros_like(self.values).scatter_add_(1, codes, rising)
        # A bin without rows, as between equal edges, has its upper edge.
        upper = torch.cat([self.edges, rising[:, -1:]], 1)
        self.values.copy_(torch.where(counts > 0, total / counts.clamp(min=1), upper))

    def forward(self, numbers: Tensor) -> Tensor:
        """Codes of numbers (B, M), float32 (B, M)."""
        return torch.searchsorted(self.edges, numbers.T.contiguous()).T.to(numbers)

    def means(self, codes: Tensor) -> Tensor:
        """What codes (B, M) stand for, (B, M)."""
        return self.values.gather(1, codes.long().T).T
