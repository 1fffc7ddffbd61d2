"""Which scores of an evaluation may stand beside the published ones of the CaloChallenge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caloman_cli.data.showers import Showers
from caloman_cli.data.sources import Dataset
from caloman_cli.metrics.caveats import is_official, is_toy
from caloman_cli.metrics.tables import Score
from caloman_cli.published.quantities import QUANTITIES


@dataclass(frozen=True)
class Comparability:
    """Why measured scores may not stand among published ones; empty where they may.

    Args:
        reasons: Why nothing that depends on the reference is comparable.
        caveats: Why a single quantity is not, by its key.
    """

    reasons: tuple[str, ...] = ()
    caveats: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        reference: Showers,
        generated: Showers | None = None,
        caveats: Mapping[str, str] | None = None,
    ) -> "Comparability":
        """Judge by the reference's content and by the number of generated showers.

        Args:
            dataset: Says which file is the official one.
            reference: What the scores were computed against.
            generated: The showers that were scored; the submissions have one for each of the
                reference.
            caveats: See the class.
        """
        reasons = []
        if is_toy(reference):
            reasons.append("reference is built-in parametrised showers")
        elif not is_official(dataset, reference):
            files = ", ".join(path.name for path in reference.paths) or reference.name
            reasons.append(f"reference is {files} ({len(reference):,} showers)")
        elif generated is not None and len(generated) != len(reference):
            reasons.append(
                f"{len(generated):,} generated showers, the submissions have {len(reference):,}"
            )
        return cls(tuple(reasons), {} if caveats is None else dict(caveats))

    def why_not(self, key: str) -> str | None:
        """Why a quantity has no place, or None where it has."""
        if self.reasons and QUANTITIES[key].needs_reference:
            return "; ".join(self.reasons)
        return self.caveats.get(key)


def measured(
    scores: Sequence[Score], device: str, parameters: int | None = None
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """The scores of an evaluation that the challenge measured too.

    Args:
        scores: The rows of an evaluation. End-to-end times count, as the challenge timed jobs.
        device: Type of the device that was timed: ``cpu``, or a GPU's.
        parameters: Number of parameters needed to generate.

    Returns:
        Values and spreads by quantity, the arguments ``row`` and ``spreads`` of
        :func:`caloman_cli.metrics.ranking.rank`.
    """
    found = {score.key: score for score in scores}
    other = "time GPU" if device == "cpu" else "time CPU"
    chosen = {
        key: found[quantity.score]
        for key, quantity in QUANTITIES.items()
        if quantity.score in found and not key.startswith(other)
    }
    row = {key: score.generated for key, score in chosen.items()}
    spreads = {key: score.spread for key, score in chosen.items()}
    if parameters is not None:
        row["parameters"] = parameters
    return row, spreads
