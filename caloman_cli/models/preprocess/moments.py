"""Means and standard deviations of a stream, in one pass and double precision."""

import torch
from torch import Tensor


class Moments:
    """Mean and standard deviation per column of rows that arrive in batches.

    Batches are merged pairwise, so that neither the length of the stream nor a large mean costs
    digits. Entries with weight zero do not count.

    References:
        Chan, Golub, LeVeque (1979), Updating formulae and a pairwise algorithm for computing
        sample variances, Stanford STAN-CS-79-773.
    """

    def __init__(self) -> None:
        self._count: Tensor | None = None

    def add(self, rows: Tensor, valid: Tensor | None = None) -> None:
        """Take rows (B, K); ``valid`` (B, K) boolean says which entries count (None: all)."""
        values = rows.double()
        weight = torch.ones_like(values) if valid is None else valid.double()
        count = weight.sum(0)
        mean = (values * weight).sum(0) / count.clamp(min=1.0)
        square = ((values - mean).square() * weight).sum(0)
        if self._count is None:
            self._count, self._mean, self._square = count, mean, square
            return
        total = self._count + count
        shift = mean - self._mean
        safe = total.clamp(min=1.0)
        self._mean = self._mean + shift * count / safe
        self._square = self._square + square + shift.square() * self._count * count / safe
        self._count = total

    @property
    def count(self) -> Tensor:
        """Number of entries that counted, shape (K,)."""
        return self._checked()

    @property
    def mean(self) -> Tensor:
        """Shape (K,), float64; 0 for a column without entries."""
        self._checked()
        return self._mean

    @property
    def std(self) -> Tensor:
        """Shape (K,), float64; 1 for a column that is constant or without entries."""
        std = (self._square / self._checked().clamp(min=1.0)).sqrt()
        noise = 1e-7 * self._mean.abs() + 1e-12
        return torch.where(std > noise, std, 1.0)

    def _checked(self) -> Tensor:
        if self._count is None:
            raise ValueError("no rows: the training split is empty")
        return self._count
