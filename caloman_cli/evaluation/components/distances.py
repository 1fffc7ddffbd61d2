"""Fréchet and kernel physics distance, beside the truth's."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from caloman_cli.config.values import NotNegative, Several
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.rows import Sides, at_equal_numbers, compared
from caloman_cli.evaluation.values import draw_values
from caloman_cli.metrics.features import feature_matrix
from caloman_cli.metrics.frechet import OFFICIAL_MIN, FrechetPhysicsDistance
from caloman_cli.metrics.goals import Goal
from caloman_cli.metrics.kernel import OFFICIAL_BATCH, KernelPhysicsDistance
from caloman_cli.metrics.samples import share_error
from caloman_cli.metrics.score import Score

log = logging.getLogger(__name__)

OFFICIAL_BATCHES = 10  # of KPD
SECTION = "distance of high-level features"
_LABELS = {"fpd": "FPD", "fpd_trimmed": "FPD without outliers", "kpd": "KPD"}
_MANY = 3.0  # errors that a share of outliers is above the reference's


class PhysicsDistances:
    """FPD and KPD of the challenge, on the high-level features.

    Args:
        fpd: Whether to compute the Fréchet physics distance.
        fpd_min_samples: Its smallest sample size. None: 10,000 where there are that many.
        fpd_trimmed: Whether to compute it without outliers, too.
        kpd: Whether to compute the kernel physics distance.
        kpd_batch_size: Showers in a batch of it. None: 10,000 where there are that many.
        kpd_batches: Number of batches.
        threshold: Readout cut [MeV]. None: the protocol's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        fpd: bool = True,
        fpd_min_samples: Several | None = None,
        kpd: bool = True,
        kpd_batch_size: Several | None = None,
        kpd_batches: Several = 10,
        threshold: NotNegative | None = None,
        fpd_trimmed: bool = False,
    ) -> None:
        if not fpd and not kpd:
            raise UserError("distances: fpd and kpd are both false, nothing is left")
        if fpd_trimmed and not fpd:
            raise UserError("distances: fpd_trimmed=true stands beside the FPD: set fpd=true")
        self.frechet = FrechetPhysicsDistance(fpd_min_samples) if fpd else None
        self.kernel = KernelPhysicsDistance(kpd_batch_size, kpd_batches) if kpd else None
        self.threshold, self.batches = threshold, kpd_batches
        self.trimmed = fpd_trimmed

    def __call__(self, comparison: Comparison) -> Section:
        every = at_equal_numbers(comparison, partial(self._found, comparison))
        scores = [score for sides in every for score in self._scores(sides)]
        ours, caveats = every[0].ours, {}
        if comparison.protocol.name != "final" or self.threshold is not None:
            caveats = dict.fromkeys(("FPD", "KPD"), "another readout cut or protocol")
        for key, why in self._sizes(ours).items():
            log.warning("%s: %s", key, why)
            caveats[key] = why
        note = (
            "FPD and KPD: 0 for equal distributions, published times 1000. The spread is the "
            "larger one of the official error and of the spread of other samples of this size; "
            "finite samples raise the official value by the bias that the second row leaves out."
        )
        draw_values(comparison, "distances", scores)
        details = {"generated": ours, "truth": every[-1].real}
        if len(every) > 1:
            details["generated_equal_n"] = every[-1].ours
        return Section(scores, details, [note], caveats)

    def _scores(self, sides: Sides) -> list[Score]:
        scores = []
        caveats = self._sizes(sides.ours)
        for name, label in _LABELS.items():
            if f"{name}_missing" in sides.ours:
                scores.append(_missing(sides, name, label))
            if name not in sides.ours:
                continue
            real = _having(sides.real, name)
            errors = (f"{name}_error", f"{name}_sampling_error")
            used: dict[str, str | float | None] = {
                "readout cut": self.threshold, **sides.conditions,
            }  # fmt: skip
            if name != "kpd":
                used["smallest sample"] = sides.ours["min_samples"]
            else:
                used |= {"batch": sides.ours["batch_size"], "batches": self.batches}
            # Only FPD's official value cannot be negative by chance.
            rows: tuple[tuple[str, str, Goal], ...] = (
                (name, label, "zero" if name == "kpd" else "lower"),
                (f"{name}_unbiased", f"{label}, bias taken off", "zero"),
            )
            notes = [caveats.get(name[:3].upper(), ""), sides.note]
            scores += [
                compared(
                    SECTION, label + sides.tail, sides.ours, real, key, errors=errors,
                    summary=key == name, key=key + sides.key, goal=goal, conditions=used,
                    note="; ".join(filter(None, notes)),
                )
                for key, label, goal in rows
            ]  # fmt: skip
        if "fpd_left_out" in sides.ours:
            scores.append(_left_out(sides))
        return scores

    def _found(
        self, comparison: Comparison, reference: Showers, generated: Showers
    ) -> dict[str, Any]:
        samples = [
            feature_matrix(comparison.classifier_features(showers, self.threshold))
            for showers in (reference, generated)
        ]
        found: dict[str, Any] = {}
        if self.frechet is not None:
            found |= self.frechet(*samples)
            if self.trimmed:
                found |= _trimmed(self.frechet, *samples)
        if self.kernel is not None:
            self.kernel.device = comparison.device
            found |= self.kernel(*samples)
        return found

    def _sizes(self, found: dict[str, Any]) -> dict[str, str]:
        """Where the official script would draw other numbers of showers."""
        caveats = {}
        if "fpd" in found and found["min_samples"] != OFFICIAL_MIN:
            caveats["FPD"] = (
                f"sizes from {found['min_samples']:,.0f} showers, the official script's from "
                f"{OFFICIAL_MIN:,}"
            )
        if "kpd" in found and found["batch_size"] != OFFICIAL_BATCH:
            caveats["KPD"] = (
                f"batches of {found['batch_size']:,.0f} showers, the official script's of "
                f"{OFFICIAL_BATCH:,}"
            )
        elif "kpd" in found and self.batches != OFFICIAL_BATCHES:
            caveats["KPD"] = f"{self.batches} batches, not {OFFICIAL_BATCHES}"
        return caveats


def _trimmed(
    frechet: FrechetPhysicsDistance, reference: np.ndarray, generated: np.ndarray
) -> dict[str, Any]:
    """The FPD without outliers, or why there is none: the official one stands without it."""
    try:
        trimmed = frechet.trimmed(reference, generated)
    except UserError as error:
        return {"fpd_trimmed_missing": str(error)}
    distances = {
        name.replace("fpd", "fpd_trimmed"): value
        for name, value in trimmed.items()
        if name.startswith("fpd")
    }
    return distances | {
        "fpd_left_out": 100 * trimmed["left_out"],
        "fpd_left_out_error": 100 * share_error(trimmed["left_out"], len(generated)),
        "fpd_left_out_reference": 100 * trimmed["left_out_reference"],
    }


def _missing(sides: Sides, name: str, label: str) -> Score:
    """A row without a number that says why."""
    real = _having(sides.real, name)
    return Score(
        SECTION, label + sides.tail, None, None if real is None else real[name],
        note="; ".join(filter(None, [sides.ours[f"{name}_missing"], sides.note])),
        summary=True, key=name + sides.key, goal="lower", conditions=sides.conditions,
    )  # fmt: skip


def _having(found: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    """What real showers score, where they have this number."""
    return found if found is not None and name in found else None


def _left_out(sides: Sides) -> Score:
    """How many showers the FPD without outliers does not see, so that nothing hides there."""
    ours, here = sides.ours, sides.ours["fpd_left_out_reference"]
    many = ours["fpd_left_out"] > here + _MANY * ours["fpd_left_out_error"]
    notes = [
        f"{here:.2g} % of the reference",
        "outliers that real showers do not have: the FPD without them says nothing of these"
        if many else "",
        sides.note,
    ]  # fmt: skip
    return compared(
        SECTION, "outliers left out [%]" + sides.tail, ours,
        _having(sides.real, "fpd_left_out"), "fpd_left_out",
        errors=("fpd_left_out_error",), summary=True, key="fpd_left_out" + sides.key,
        goal="truth", conditions=sides.conditions, note="; ".join(filter(None, notes)),
    )  # fmt: skip
