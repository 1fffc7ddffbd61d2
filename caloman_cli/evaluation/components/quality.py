"""Metrics of deep generative models on features of choice, beside the truth's."""

from typing import ClassVar

from caloman_cli.config.values import Count, Several
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.rows import Sides, at_equal_numbers, compared
from caloman_cli.evaluation.space import Largest, Space, SpaceName
from caloman_cli.evaluation.values import draw_values
from caloman_cli.metrics.goals import Goal
from caloman_cli.metrics.sample_quality import FeatureLikelihood, QualityTest
from caloman_cli.metrics.score import Score

SECTION = "sample quality"
_ROWS: dict[str, tuple[str, str, str, Goal]] = {
    "fd": ("Fréchet distance", "fd_inf_error", "fd", "lower"),
    "fd_inf": ("Fréchet distance, extrapolated", "fd_inf_error", "fd_inf", "zero"),
    "kd": ("kernel distance", "kd_error", "kd", "zero"),
    "sw": ("sliced Wasserstein", "sw_error", "sw", "lower"),
    "precision": ("precision of features", "precision_error", "feature_precision", "truth"),
    "recall": ("recall of features", "recall_error", "feature_recall", "truth"),
    "density": ("density of features", "density_error", "feature_density", "truth ratio"),
    "coverage": ("coverage of features", "coverage_error", "feature_coverage", "truth"),
    "vendi": ("Vendi score", "vendi_error", "vendi", "truth"),
    "fls": ("feature likelihood score", "fls_error", "fls", "higher"),
    "overfit": ("overfit Gaussians [%]", "overfit_error", "overfit", "zero"),
}
_NOT_SUMMARY = ("fd", "overfit")


class SampleQuality:
    """Fréchet, kernel and Wasserstein distances, neighbours, Vendi, feature likelihood score.

    Args:
        space: ``high`` (features) or ``voxels`` (logarithms).
        k: Neighbours of precision, recall, density and coverage.
        n_subsets: Subsets of the kernel distance.
        max_showers: Of each set, spread over it. None: all.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        space: SpaceName = "high",
        k: Count = 5,
        n_subsets: Several = 100,
        max_showers: Largest | None = None,
    ) -> None:
        self.space, self.k, self.n_subsets = Space(space, max_showers), k, n_subsets
        QualityTest(k, n_subsets)  # refuses wrong settings before any work

    def __call__(self, comparison: Comparison) -> Section:
        seed, device = comparison.seed, comparison.device
        test = QualityTest(self.k, self.n_subsets, seed=seed, device=device)

        def found(reference: Showers, generated: Showers) -> dict[str, float | None]:
            return test(self.space(comparison, reference), self.space(comparison, generated))

        every = at_equal_numbers(comparison, found)
        held, generated = (
            self.space(comparison, showers)
            for showers in (comparison.reference, comparison.generated)
        )
        notes = [
            f"Sample quality: {len(held):,} real and {len(generated):,} generated showers in "
            f"{self.space.words}; compare with the truth, not with other feature spaces."
        ]
        scores = [score for sides in every for score in _scores(sides)]
        details = {"generated": every[0].ours, "truth": every[-1].real}
        if len(every) > 1:
            details["generated_equal_n"] = every[-1].ours
        try:
            known = self.space(comparison, comparison.train)
        except UserError as error:
            notes.append(f"The feature likelihood score was left out: {error}.")
        else:
            # Half of the held-out showers stand in the place of the generated ones for the truth,
            # and as many generated ones are drawn: the score depends on how many there are.
            most = max(100, min(4000, len(held) // 2, len(generated), len(known) // 2))
            likelihood = FeatureLikelihood(most, seed=seed, device=device)
            both = likelihood(held, generated, known), likelihood(held[::2], held[1::2], known)
            scores += _scores(Sides(*both))
            details |= {"likelihood": {"generated": both[0], "truth": both[1]}}
        draw_values(comparison, "quality", scores)
        used = {**self.space.conditions, "neighbours": self.k, "subsets": self.n_subsets}
        return Section(scores, details, notes, conditions=used)


def _scores(sides: Sides) -> list[Score]:
    return [
        compared(
            SECTION, words + sides.tail, sides.ours, sides.real, name, errors=(error,),
            summary=name not in _NOT_SUMMARY, key=key + sides.key, goal=goal, note=sides.note,
            conditions=sides.conditions,
        )
        for name, (words, error, key, goal) in _ROWS.items()
        if name in sides.ours
    ]  # fmt: skip
