"""Whether a density is overfitting a manifold: its likelihood grows because it has become thin."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from caloman_cli.models.densities.base import Density
from caloman_cli.models.densities.narrowness import narrowest_width
from caloman_cli.models.trainable import RowSource

log = logging.getLogger(__name__)

GROWTH = 0.1  # nats per epoch at the full learning rate
WIDTH = 0.02  # of a direction, where one that is as wide as the latents has 1


class Collapse(NamedTuple):
    """What a density does at the end of its training.

    Args:
        growth: Of its held-out log p [nats] in an epoch at the full learning rate, over the
            second half of the training.
        width: Standard deviation of its narrowest direction at a condition, in scaled latents.
    """

    growth: float
    width: float


def growth_of(history: Sequence[dict[str, Any]]) -> float:
    """How fast log p still grows [nats an epoch], from the rows of a stage's epochs.

    A schedule slows every training down at its end; what counts is what was learned for the
    learning that there was, so an epoch counts by its rate over the highest one.
    """
    rows = [row for row in history if row.get("validation/loss") is not None and "lr" in row]
    half = rows[max(0, len(rows) - 1) // 2 :]
    if len(half) < 2:
        return 0.0
    highest = max(row["lr"] for row in rows)
    epochs = sum(row["lr"] for row in half[1:]) / highest if highest else 0.0
    gained = half[0]["validation/loss"] - half[-1]["validation/loss"]
    return float(gained / epochs) if epochs else 0.0


def manifold_overfitting(
    density: Density, rows: RowSource, history: Sequence[dict[str, Any]]
) -> Collapse | None:
    """The signs of it, where both are there; None elsewhere.

    Only where training climbs an exact log p of real latents: there alone it can grow for ever.

    References:
        Loaiza-Ganem et al. (2022), Diagnosing and fixing manifold overfitting in deep generative
        models, arXiv:2204.07172.
    """
    climbs = type(density).loss is Density.loss and density.kind == "exact"
    if not climbs or density.latents.kind != "real":
        return None
    growth = growth_of(history)
    if not growth > GROWTH:
        return None
    found = Collapse(growth, narrowest_width(density, rows))
    return found if found.width < WIDTH else None


def warn_of_overfitting(
    density: Density, rows: RowSource, history: Sequence[dict[str, Any]]
) -> None:
    """One line with what to do, where a density is overfitting a manifold."""
    found = manifold_overfitting(density, rows, history)
    if found is not None:
        log.warning(
            "density: log p still grows by %.2g nats an epoch while the narrowest direction is"
            " down to %.1g of the latents' spread: it may be overfitting a manifold, latents that"
            " fill no volume, and its likelihood says nothing then; lower encoder.latent_dim, drop"
            " what hardly varies (density.prune=1e-3) or learn noise too (density.noise=additive)",
            *found,
        )
