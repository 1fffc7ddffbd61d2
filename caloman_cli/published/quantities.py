"""What the challenge measured, and which of two values is the better one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Goal = Literal["lower", "higher", "half", "zero", "truth", "truth ratio"]
Table = Literal["quality", "separation power", "cost"]
DEVICES = ("CPU", "GPU")
BATCH_SIZES = (1, 100, 10_000)


@dataclass(frozen=True)
class Quantity:
    """One column of the published tables.

    Args:
        key: Its name in a row of measured values.
        label: Heading of its column.
        goal: What is best: ``lower``, ``higher``, nearest to one ``half``, to ``zero``, to what
            Geant4 scores (``truth``), or the same in terms of a ratio (``truth ratio``).
        table: Where it is shown.
        scale: Factor of the shown number.
    """

    key: str
    label: str
    goal: Goal
    table: Table
    scale: float = 1.0

    @property
    def needs_reference(self) -> bool:
        """Whether the number says something about the reference too, not only the model."""
        return self.table != "cost"

    def distance(self, value: float, truth: float | None) -> float | None:
        """How far a value is from the best one; smaller is better.

        Args:
            value: The value.
            truth: What Geant4 scores.

        Returns:
            A number that orders, or None where Geant4's score is needed and missing.
        """
        if self.goal.startswith("truth") and truth is None:
            return None
        return _DISTANCES[self.goal](value, math.nan if truth is None else truth)


_DISTANCES: dict[Goal, Callable[[float, float], float]] = {
    "lower": lambda value, _: value,
    "higher": lambda value, _: -value,
    "half": lambda value, _: abs(value - 0.5),
    "zero": lambda value, _: abs(value),
    "truth": lambda value, truth: abs(value - truth),
    "truth ratio": lambda value, truth: abs(math.log(value / truth)) if value > 0 else math.inf,
}


def time_key(device: str, batch_size: int) -> str:
    """Key of the time per shower on ``CPU`` or ``GPU`` at a batch size."""
    return f"time {device} {batch_size}"


_QUANTITIES = (
    Quantity("AUC low", "AUC low", "half", "quality"),
    Quantity("AUC high", "AUC high", "half", "quality"),
    Quantity("AUC resnet", "AUC resnet", "half", "quality"),
    Quantity("log-posterior", "log-post.", "higher", "quality"),
    Quantity("log-posterior resnet", "log-post. resnet", "higher", "quality"),
    Quantity("FPD", "FPD ×10³", "lower", "quality", 1e3),
    Quantity("KPD", "KPD ×10³", "zero", "quality", 1e3),
    # A model that repeats a few good showers has precision 1 and a density of hundreds, so for
    # these four Geant4's own score is the aim.
    Quantity("precision", "precision", "truth", "quality"),
    Quantity("recall", "recall", "truth", "quality"),
    Quantity("density", "density", "truth ratio", "quality"),
    Quantity("coverage", "coverage", "truth", "quality"),
    *(
        Quantity(f"S {group}", f"{group} ×10³", "lower", "separation power", 1e3)
        for group in (
            "E_ratio", "E_layer", "EC_eta", "EC_phi", "EC_r", "width_eta", "width_phi", "width_r",
            "sparsity", "voxel",
        )
    ),
    Quantity("parameters", "parameters [10⁶]", "lower", "cost", 1e-6),
    *(
        Quantity(time_key(device, size), f"{device} {size:,} [ms]", "lower", "cost")
        for device in DEVICES
        for size in BATCH_SIZES
    ),
)  # fmt: skip
QUANTITIES = {quantity.key: quantity for quantity in _QUANTITIES}
