"""Precision, recall, density and coverage, official and corrected, beside the truth's."""

import logging
from functools import partial
from typing import Any, ClassVar

import numpy as np

from caloman_cli.config.values import Count, Natural, NotNegative, checked
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.rows import at_equal_numbers, compared
from caloman_cli.evaluation.truth import spread
from caloman_cli.evaluation.values import draw_values
from caloman_cli.metrics.points import LogVoxels
from caloman_cli.metrics.precision_recall import (
    FEW,
    OFFICIAL_EMPTY,
    NeighbourTest,
    corrected_empty,
)
from caloman_cli.metrics.score import Score

log = logging.getLogger(__name__)

SECTION = "neighbours of voxels"
NAMES = ("precision", "recall", "density", "coverage")
OFFICIAL_K = 5
RADII = 2  # of the balls of real showers: raised where a number changes


@checked
class PrecisionRecall:
    """Precision, recall, density and coverage on logarithms of voxels.

    Args:
        k: Neighbours that a ball reaches to; the challenge takes 5.
        official: Put empty voxels at 0.1 MeV, as the challenge does.
        corrected: Put empty voxels at half of the readout cut, below every voxel.
        batches: Disjoint parts that give the errors.
        max_showers: Of either side, spread over the files. None: all.
        threshold: Readout cut [MeV]. None: the geometry's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        k: Count = OFFICIAL_K,
        official: bool = True,
        corrected: bool = True,
        batches: Natural = 10,
        max_showers: Count | None = None,
        threshold: NotNegative | None = None,
    ) -> None:
        if not official and not corrected:
            raise UserError("precision_recall: official and corrected are both false")
        self.test = NeighbourTest(k, batches)
        self.official, self.corrected = official, corrected
        self.max_showers, self.threshold = max_showers, threshold

    def __call__(self, comparison: Comparison) -> Section:
        self.test.device, self.test.seed = comparison.device, comparison.seed
        cut = comparison.geometry.threshold if self.threshold is None else self.threshold
        kinds = {}
        if self.official:
            kinds["official"] = OFFICIAL_EMPTY
        if self.corrected:
            kinds["corrected"] = corrected_empty(cut)
        scores: list[Score] = []
        details: dict[str, Any] = {}
        for kind, empty in kinds.items():
            every = at_equal_numbers(
                comparison, partial(self._found, comparison, cut=cut, empty=empty)
            )
            tail = "" if kind == "official" else ", corrected"
            scores += [
                compared(
                    SECTION, name + tail + sides.tail, sides.ours, sides.real, name,
                    errors=(f"{name}_error",), note=sides.note, conditions=sides.conditions,
                    summary=kind == "official" or not self.official,
                    key=(name if kind == "official" else f"{name}_corrected") + sides.key,
                    goal="truth ratio" if name == "density" else "truth",
                )
                for sides in every
                for name in NAMES
            ]  # fmt: skip
            details[kind] = {
                "empty_voxel": empty, "generated": every[0].ours, "truth": every[-1].real,
            }  # fmt: skip
            if len(every) > 1:
                details[kind]["generated_equal_n"] = every[-1].ours
        used: dict[str, str | float | None] = {
            "neighbours": self.test.k,
            "showers at most": self.max_showers,
            "readout cut": self.threshold,
        }
        draw_values(comparison, "neighbours", scores)
        notes, caveats = self._notes(comparison), self._caveats(comparison)
        log.info("%s", notes[0])
        return Section(scores, details, notes, caveats, used)

    def _found(
        self,
        comparison: Comparison,
        reference: Showers,
        generated: Showers,
        cut: float,
        empty: float,
    ) -> dict[str, float | None]:
        sides = [self._chosen(showers) for showers in (reference, generated)]
        clouds = [LogVoxels.of(side, comparison.cache_dir, cut, empty) for side in sides]
        radii = None
        if len(sides[0]) > self.test.k + 1:  # else the metric says so itself

            def compute() -> dict[str, np.ndarray]:
                return {"radii": self.test.radii(clouds[0])}

            settings = {"k": self.test.k, "threshold": cut, "empty": empty}
            stored = comparison.store.get("radii", RADII, sides[0], settings, compute)
            radii = stored["radii"]
        return self.test(*clouds, reference_radii=radii)

    def _chosen(self, showers: Showers) -> Showers:
        return showers if self.max_showers is None else spread(showers, self.max_showers)

    def _notes(self, comparison: Comparison) -> list[str]:
        k = self.test.k
        sizes = [len(self._chosen(s)) for s in (comparison.reference, comparison.generated)]
        note = (
            f"Precision, recall, density, coverage: balls to the {k}th neighbour around "
            f"{sizes[0]:,} real and {sizes[1]:,} generated showers, in logarithms of voxels; "
            "spread: from disjoint parts."
        )
        if min(sizes) < FEW:
            note += " Few showers: balls are wide, compare only with the truth of as many."
        if self.official and self.corrected:
            note += (
                f" The official rows put empty voxels at {OFFICIAL_EMPTY} MeV, "
                "the corrected ones at half of the readout cut, below every voxel that was hit."
            )
        return [note]

    def _caveats(self, comparison: Comparison) -> dict[str, str]:
        if self.test.k != OFFICIAL_K:
            return dict.fromkeys(NAMES, f"{self.test.k} neighbours, not {OFFICIAL_K}")
        if self.threshold not in (None, comparison.geometry.threshold):
            return dict.fromkeys(NAMES, f"readout cut {self.threshold:g} MeV")
        sides = comparison.reference, comparison.generated
        if any(len(self._chosen(side)) < len(side) for side in sides):
            return dict.fromkeys(NAMES, f"at most {self.max_showers:,} showers, not all")
        return {}
