"""Location and scale as functions of the incident energy, tabulated."""

import torch
from torch import Tensor, nn

from caloman_cli.preprocess.moments import Moments

KNOTS = 64
_PER_KNOT = 400  # showers behind one knot of a continuous spectrum, at least
_ENOUGH = 20  # showers that measure a coordinate's moments at one knot


class EnergyTable(nn.Module):
    """Mean and scale of K coordinates at up to 64 incident energies, linear in log energy between.

    The tables have one size whatever the data, so that any checkpoint loads into any model; knots
    that are not used lie at infinity.

    Args:
        dim: K.
    """

    knots: Tensor
    mean: Tensor
    scale: Tensor
    center: Tensor
    width: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        unused = torch.full((KNOTS,), torch.inf, dtype=torch.float64)
        unused[0] = 0.0
        self.register_buffer("knots", unused)
        self.register_buffer("mean", torch.zeros(KNOTS, dim))
        self.register_buffer("scale", torch.ones(KNOTS, dim))
        self.register_buffer("center", torch.zeros((), dtype=torch.float64))
        self.register_buffer("width", torch.ones((), dtype=torch.float64))

    def place(self, e_inc: Tensor) -> None:
        """Choose the knots for incident energies (N, 1) MeV of the training split.

        Up to 64 different energies have a knot each; a continuous spectrum has knots at its
        quantiles.
        """
        logs = e_inc.double().log().flatten()
        self.center.copy_(logs.mean())
        std = logs.std(correction=0)
        self.width.copy_(std if std > 0 else torch.ones(()))
        # Files round the discrete energies; no detector is scanned in steps of 0.01 %.
        knots = torch.unique((logs * 1e4).round()) / 1e4
        if len(knots) > KNOTS:
            count = max(2, min(KNOTS, len(logs) // _PER_KNOT))
            ranks = torch.linspace(0, len(logs) - 1, count, device=logs.device).round().long()
            knots = torch.unique(logs.sort().values[ranks])
        self.knots.fill_(torch.inf)
        self.knots[: len(knots)] = knots

    def feature(self, e_inc: Tensor) -> Tensor:
        """Standardised log energy (B, 1)."""
        return ((e_inc.double().log() - self.center) / self.width).float()

    def standardize(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Measure mean and standard deviation at each knot on the showers nearest to it.

        Where a coordinate has too few showers at a knot, the closest knot with enough serves.

        Args:
            batches: Triples y (B, K), valid (B, K), e_inc (B, 1) of the training split.
        """
        used = self.knots[torch.isfinite(self.knots)]
        every, local = Moments(), [Moments() for _ in used]
        for y, valid, e_inc in batches:
            every.add(y, valid)
            nearest = self._nearest(e_inc)
            for knot, moments in enumerate(local):
                moments.add(y[nearest == knot], valid[nearest == knot])
        counts = torch.stack([moments.count for moments in local])
        distance = (used[:, None] - used[None, :]).abs()
        for k in range(counts.shape[1]):
            enough = counts[:, k] >= min(_ENOUGH, float(every.count[k]))
            if not bool(enough.any()):
                sources = [every] * len(used)
            else:
                reach = torch.where(enough[None, :], distance, torch.inf)
                sources = [local[int(i)] for i in reach.argmin(1)]
            for knot, moments in enumerate(sources):
                self.mean[knot, k], self.scale[knot, k] = moments.mean[k], moments.std[k]

    def divide_by_largest(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """One scale for all energies: the largest absolute value, no shift."""
        largest = torch.stack([(y.abs() * valid).amax(0) for y, valid, _ in batches]).amax(0)
        self.mean.zero_()
        self.scale.copy_(torch.where(largest > 0, largest, 1.0).expand_as(self.scale))

    def at(self, e_inc: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, K) and scale (B, K) for incident energies (B, 1) MeV."""
        logs = e_inc.double().log()[:, 0]
        upper = torch.searchsorted(self.knots, logs).clamp(1, KNOTS - 1)
        low, high = self.knots[upper - 1], self.knots[upper]
        share = ((logs - low) / (high - low)).clamp(0.0, 1.0).float()[:, None]
        return (
            torch.lerp(self.mean[upper - 1], self.mean[upper], share),
            torch.lerp(self.scale[upper - 1], self.scale[upper], share),
        )

    def _nearest(self, e_inc: Tensor) -> Tensor:
        return (e_inc.double().log() - self.knots).abs().argmin(1)
