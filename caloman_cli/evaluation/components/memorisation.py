"""Does the model replay its training file? Beside what held-out showers seem to do."""

from typing import ClassVar

from caloman_cli.config.values import Several
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.space import Largest, Space, SpaceName
from caloman_cli.metrics.memorisation import CopyTest
from caloman_cli.metrics.samples import share_error, standardised
from caloman_cli.metrics.score import Score

SECTION = "memorisation"


class Memorisation:
    """Copies, near copies, authenticity and C_T against the training file.

    Args:
        space: ``high`` (features) or ``voxels`` (logarithms).
        k: Neighbours that the nearest training shower is compared with.
        max_showers: Of each set, spread over it. None: all.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated", "train")

    def __init__(
        self,
        space: SpaceName = "high",
        k: Several = 50,
        max_showers: Largest | None = None,
    ) -> None:
        self.space = Space(space, max_showers)
        self.test = CopyTest(k)

    def __call__(self, comparison: Comparison) -> Section:
        self.test.seed, self.test.device = comparison.seed, comparison.device
        held, ours, known = (
            self.space(comparison, showers)
            for showers in (comparison.reference, comparison.generated, comparison.train)
        )
        found = self.test(held, ours, known)
        # Held-out showers in the place of the generated ones: what no copying looks like.
        scaled, rest = standardised(known, held)
        real_ct, real_error = self.test.data_copying(rest[::2], rest[1::2], scaled)
        return Section(
            scores(found, real_ct, real_error, len(held), len(ours)),
            {"generated": found, "reference_ct": real_ct},
            [
                f"Memorisation: {len(ours):,} generated showers against {len(known):,} training "
                f"showers in {self.space.words}; truth: the reference in their place."
            ],
            conditions={**self.space.conditions, "neighbours": self.test.k},
        )


def scores(
    found: dict[str, float], real_ct: float, real_error: float, n_held: int, n_ours: int
) -> list[Score]:
    """Rows of what :class:`caloman_cli.metrics.memorisation.CopyTest` found."""
    copied, real_copied = found["copies"], found["copies_reference"]
    return [
        Score(
            SECTION, "exact copies", copied, real_copied, spread=share_error(copied, n_ours),
            truth_spread=share_error(real_copied, n_held), summary=True, key="copies",
            goal="lower",
        ),
        Score(
            SECTION, "near copies", found["near_copies"], spread=found["near_copies_error"],
            summary=True, key="near_copies", goal="lower",
            note=f"{100 * found['near_copies_reference']:.2g} % of real showers by construction",
        ),
        Score(
            SECTION, "authentic [%]", found["authentic"], found["authentic_reference"],
            spread=found["authentic_error"], summary=True,
            truth_spread=100 * share_error(found["authentic_reference"] / 100, n_held),
            key="authentic", goal="truth",  # showers that are like no real one get all of them
        ),
        Score(
            SECTION, "C_T", found["ct"], real_ct, spread=found["ct_error"],
            truth_spread=real_error, summary=True, key="c_t", goal="zero",
            note="below -3: copies of training showers" if found["ct"] < -3 else "",
        ),
    ]  # fmt: skip
