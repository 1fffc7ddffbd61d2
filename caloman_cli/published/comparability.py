"""Which scores of an evaluation may stand beside the published ones of the CaloChallenge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from caloman_cli.data.showers import Showers
from caloman_cli.metrics.score import Score
from caloman_cli.published.caveats import is_toy, same_energies
from caloman_cli.published.official import is_official, other_geometry
from caloman_cli.published.quantities import QUANTITIES

QUARTILES = 1.349  # interquartile range of a Gaussian, in standard deviations


@dataclass(frozen=True)
class Comparability:
    """Why measured scores may not stand among published ones; empty where they may.

    Args:
        reasons: Why nothing that depends on the reference is comparable.
        caveats: Why a single quantity is not, by its key.
        remarks: What differs without standing against a place.
    """

    reasons: tuple[str, ...] = ()
    caveats: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        reference: Showers,
        generated: Showers | None = None,
        caveats: Mapping[str, str] | None = None,
        *,
        protocol: str = "final",
        copies: Callable[[], int] = lambda: 0,
    ) -> "Comparability":
        """Judge by what the showers are, not by what they are called.

        Args:
            reference: What the scores were computed against.
            generated: The showers that were scored; the submissions have one for each of the
                reference.
            caveats: See the class.
            protocol: The rules; the published scores are by ``final``.
            copies: Counts generated showers that are the reference's own; asked only where
                nothing else stands against a place.
        """
        found = {} if caveats is None else dict(caveats)
        reason = _reason(reference, generated, protocol, copies)
        return cls(() if reason is None else (reason,), found)

    def why_not(self, key: str) -> str | None:
        """Why a quantity has no place, or None where it has."""
        if self.reasons and QUANTITIES[key].needs_reference:
            return "; ".join(self.reasons)
        return self.caveats.get(key)


def _reason(
    reference: Showers, generated: Showers | None, protocol: str, copies: Callable[[], int]
) -> str | None:
    """The first thing that stands against a place, or None."""
    if is_toy(reference):
        return "reference is built-in parametrised showers"
    if not is_official(reference):
        files = ", ".join(path.name for path in reference.paths) or reference.name
        return f"reference is {files} ({len(reference):,} showers)"
    if (other := other_geometry(reference)) is not None:
        return other
    if protocol != "final":
        return f"protocol {protocol}, not final"
    if generated is None:
        return None
    if len(generated) != len(reference):
        return f"{len(generated):,} generated showers, the submissions have {len(reference):,}"
    if not same_energies(reference, generated):
        return "the incident energies are not the reference's"
    if copied := copies():
        return f"{copied:,} of {len(generated):,} generated showers are the reference's own"
    return None


def measured(
    scores: Sequence[Score], device: str, parameters: int | None = None
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """The scores of an evaluation that the challenge measured too.

    Args:
        scores: The rows of an evaluation. End-to-end times count, as the challenge timed jobs.
        device: Type of the device that was timed: ``cpu``, or a GPU's.
        parameters: Number of parameters needed to generate.

    Returns:
        Values and standard deviations by quantity (of times, which have interquartile ranges,
        what a Gaussian would have), the arguments ``row`` and ``spreads`` of
        :func:`caloman_cli.published.ranking.rank`.
    """
    found = {score.key: score for score in scores}
    other = "time GPU" if device == "cpu" else "time CPU"
    chosen = {
        key: found[quantity.score]
        for key, quantity in QUANTITIES.items()
        if quantity.score in found and not key.startswith(other)
    }
    row = {key: score.generated for key, score in chosen.items()}
    spreads = {
        key: score.spread / QUARTILES if key.startswith("time") and score.spread else score.spread
        for key, score in chosen.items()
    }
    if parameters is not None:
        row["parameters"] = parameters
    return row, spreads
