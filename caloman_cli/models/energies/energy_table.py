"""Location and scale as functions of the incident energy, tabulated."""

import numpy as np
import torch
from torch import Tensor, nn

KNOTS = 64
_ROUNDING = 1e-9
_PER_KNOT = 400  # showers behind one knot of a continuous spectrum, at least
_ENOUGH = 20  # showers that measure a coordinate at one knot
_CENTRAL = (0.1587, 0.5, 0.8413)  # quantiles at -1, 0 and 1 standard deviations of a Gaussian


class EnergyTable(nn.Module):
    """Location and scale of K coordinates at up to 64 incident energies, linear in log E between.

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
        # Equal energies differ from their mean by rounding.
        self.width.copy_(std if std > _ROUNDING else torch.ones(()))
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
        """Measure location and scale at each knot on the showers nearest to it.

        They are the median and half the width of the central 68 %: one shower that passes a
        detector without showering would stretch a standard deviation at its energy alone, and the
        flow, which sees a smooth feature of the energy, could not take that back.

        Where a coordinate has too few showers at a knot, the closest knot with enough serves.

        Args:
            batches: Triples y (B, K), valid (B, K), e_inc (B, 1) of the training split.
        """
        used = self.knots[torch.isfinite(self.knots)]
        y = torch.cat([torch.where(valid, y.double(), torch.nan) for y, valid, _ in batches])
        nearest = torch.cat([self._nearest(e_inc) for _, _, e_inc in batches])
        local = [y[nearest == knot] for knot in range(len(used))]
        counts = torch.stack([torch.isfinite(rows).sum(0) for rows in local])
        measured = torch.stack([_location_and_scale(rows) for rows in local])
        every = _location_and_scale(y)
        distance = (used[:, None] - used[None, :]).abs()
        for k in range(y.shape[1]):
            enough = counts[:, k] >= counts[:, k].sum().clamp(1, _ENOUGH)
            if bool(enough.any()):
                source = torch.where(enough[None, :], distance, torch.inf).argmin(1)
                found = measured[source, :, k]
            else:
                found = every[:, k].expand(len(used), -1)
            self.mean[: len(used), k], self.scale[: len(used), k] = found.float().unbind(1)

    def divide_by_largest(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """One scale for all energies: the largest absolute value, no shift."""
        largest = torch.stack([(y.abs() * valid).amax(0) for y, valid, _ in batches]).amax(0)
        self.mean.zero_()
        self.scale.copy_(torch.where(largest > 0, largest, 1.0).expand_as(self.scale))

    def at(self, e_inc: Tensor) -> tuple[Tensor, Tensor]:
        """Location (B, K) and scale (B, K) for incident energies (B, 1) MeV."""
        logs = e_inc.double().log()[:, 0]
        upper = torch.searchsorted(self.knots, logs).clamp(1, KNOTS - 1)
        lower, both = upper - 1, torch.cat([self.mean, self.scale], 1)
        low, high = self.knots[lower], self.knots[upper]
        share = ((logs - low) / (high - low)).clamp(0.0, 1.0).float()[:, None]
        mean, scale = torch.lerp(both[lower], both[upper], share).chunk(2, 1)
        return mean, scale

    def _nearest(self, e_inc: Tensor) -> Tensor:
        return (e_inc.double().log() - self.knots).abs().argmin(1)


def _location_and_scale(rows: Tensor) -> Tensor:
    """Median and half the central 68 % of the columns of (N, K), NaN left out: (2, K).

    0 and 1 for a column without numbers, the scale 1 for one whose numbers are equal.
    """
    known = torch.isfinite(rows).any(0)
    filled = torch.where(known, rows, 0.0) if len(rows) else rows.new_zeros(1, rows.shape[1])
    # torch.nanquantile takes 16 million numbers at most.
    low, middle, high = np.nanquantile(filled.cpu().numpy(), _CENTRAL, axis=0)
    scale = np.where(high > low, (high - low) / 2, 1.0)
    return torch.from_numpy(np.stack([middle, scale])).to(rows.device)
