"""What the challenge measured, and which of two values is the better one."""

from dataclasses import dataclass
from typing import Literal

from caloman_cli.metrics.goals import Goal, distance

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
        score: Key of the evaluation's score that measures the same; None where none does.
        scale: Factor of the shown number.
    """

    key: str
    label: str
    goal: Goal
    table: Table
    score: str | None
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
        return distance(self.goal, value, truth)


def time_key(device: str, batch_size: int) -> str:
    """Key of the time per shower on ``CPU`` or ``GPU`` at a batch size."""
    return f"time {device} {batch_size}"


_QUANTITIES = (
    Quantity("AUC low", "AUC low", "half", "quality", "auc_low"),
    Quantity("AUC high", "AUC high", "half", "quality", "auc_high"),
    Quantity("AUC resnet", "AUC resnet", "half", "quality", "auc_resnet"),
    Quantity("log-posterior", "log-post.", "higher", "quality", "log_posterior"),
    Quantity(
        "log-posterior resnet", "log-post. resnet", "higher", "quality", "log_posterior_resnet"
    ),
    Quantity("FPD", "FPD ×10³", "lower", "quality", "fpd", 1e3),
    Quantity("KPD", "KPD ×10³", "zero", "quality", "kpd", 1e3),
    # A model that repeats a few good showers has precision 1 and a density of hundreds, so for
    # these four Geant4's own score is the aim.
    Quantity("precision", "precision", "truth", "quality", "precision"),
    Quantity("recall", "recall", "truth", "quality", "recall"),
    Quantity("density", "density", "truth ratio", "quality", "density"),
    Quantity("coverage", "coverage", "truth", "quality", "coverage"),
    *(
        Quantity(f"S {group}", f"{group} ×10³", "lower", "separation power", score, 1e3)
        for group, score in (
            ("E_ratio", "E_ratio"),
            ("E_layer", "E_layer_mean"),
            ("EC_eta", "EC_eta_mean"),
            ("EC_phi", "EC_phi_mean"),
            ("EC_r", "EC_r_mean"),
            ("width_eta", "width_eta_mean"),
            ("width_phi", "width_phi_mean"),
            ("width_r", "width_r_mean"),
            ("sparsity", "sparsity_mean"),
            ("voxel", "voxel"),
        )
    ),
    Quantity("parameters", "parameters [10⁶]", "lower", "cost", None, 1e-6),
    *(
        Quantity(
            time_key(device, size), f"{device} {size:,} [ms]", "lower", "cost",
            f"ms_end_to_end_{size}",  # the challenge timed jobs
        )
        for device in DEVICES
        for size in BATCH_SIZES
    ),
)  # fmt: skip
QUANTITIES = {quantity.key: quantity for quantity in _QUANTITIES}
