"""Sliced Kolmogorov-Smirnov and Wasserstein distances, with p-values, beside the truth's."""

from typing import ClassVar

from caloman_cli.config.values import Count, NotNegative, Several
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.rows import compared
from caloman_cli.evaluation.values import draw_values
from caloman_cli.metrics.features import feature_matrix
from caloman_cli.metrics.score import Score
from caloman_cli.metrics.sliced import SlicedTest, one_list

SECTION = "sliced distances"
_WORDS = {"ks": "sliced KS", "w1": "sliced Wasserstein"}
_SPACES = {"": "", "_white": ", whitened"}  # of keys and of words


class SlicedDistances:
    """Mean KS and Wasserstein distance of high-level features along directions at random.

    Args:
        directions: Their number.
        permutations: Of the labels, which give p-values and floors.
        threshold: Readout cut [MeV]. None: the protocol's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        directions: Count = 100,
        permutations: Several = 200,
        threshold: NotNegative | None = None,
    ) -> None:
        self.tests = {
            key: SlicedTest(directions, permutations, whiten=key != "") for key in _SPACES
        }
        self.threshold = threshold

    def __call__(self, comparison: Comparison) -> Section:
        reference, generated, pair = comparison.reference, comparison.generated, comparison.truth
        ours, truth = self._found(comparison, reference, generated), None
        if pair is not None:
            truth = self._found(comparison, pair.reference, pair.sample)
        note = "" if pair is None else pair.note
        scores: list[Score] = []
        for place, tail in _SPACES.items():
            for name, words in _WORDS.items():
                found, key = f"{name}{place}", f"sliced_{name}{place}"
                errors = f"{found}_error", f"{found}_null_error"
                scores += [
                    compared(
                        SECTION, f"{words}{tail}", ours, truth, found, floor=f"{found}_null",
                        errors=errors, summary=True, key=key, goal="lower", note=note,
                    ),
                    compared(
                        SECTION, f"{words}{tail}, p-value", ours, truth, f"{found}_p",
                        summary=True, key=f"{key}_p", goal="higher", note=note,
                    ),
                ]  # fmt: skip
        draw_values(comparison, "sliced", scores)
        within = one_list(reference.energies[:, 0], generated.energies[:, 0])
        test = self.tests[""]
        return Section(
            scores,
            {"generated": ours, "truth": truth},
            [
                f"Sliced distances: means over {test.directions} directions of features in the "
                "reference's standard deviations, or of all showers' principal components in "
                f"theirs. Floor and p-value: {test.permutations} times labels were exchanged, "
                f"{'among showers of one incident energy' if within else 'among all showers'}."
            ],
            conditions={"readout cut": self.threshold, "directions": test.directions},
        )

    def _found(
        self, comparison: Comparison, reference: Showers, generated: Showers
    ) -> dict[str, float]:
        """What both tests say, their names with the spaces' keys behind ``ks`` and ``w1``."""
        sides = [
            feature_matrix(comparison.classifier_features(showers, self.threshold))
            for showers in (reference, generated)
        ]
        energies = reference.energies[:, 0], generated.energies[:, 0]
        found = {}
        for place, test in self.tests.items():
            test.seed = comparison.seed
            for name, value in test(sides[0], sides[1], energies).items():
                first, mark, rest = name.partition("_")
                found[f"{first}{place}{mark}{rest}"] = value
        return found
