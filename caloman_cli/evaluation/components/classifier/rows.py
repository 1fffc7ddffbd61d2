"""The rows that every classifier has in a table."""

from dataclasses import replace
from typing import Any, Literal

from caloman_cli.metrics.classifier.inputs import AnyMode
from caloman_cli.metrics.score import Score, key_of

Judge = Literal[AnyMode, "trees"]
SECTION = "classifier"
Found = dict[str, Any]
"""What a classifier test returns."""


def auc_and_jsd(mode: Judge, ours: Found, truth: Found | None, note: str) -> list[Score]:
    """AUC and JSD; calibration on few showers lowers the JSD, so its truth needs as many.

    Args:
        mode: Of the classifier.
        ours: Of the generated showers.
        truth: Of real ones, or None.
        note: Of the truth.
    """
    scores = [_score(name, mode, ours, truth) for name in ("auc", "jsd")]
    scores[0] = replace(scores[0], note=note)
    if truth is not None and truth["n_val"] != ours["n_val"]:
        why = f"truth withheld: {truth['n_val']:,} showers score it, not {ours['n_val']:,}"
        scores[1] = replace(scores[1], truth=None, truth_spread=None, note=why)
    return scores


def spread(found: Found, name: str) -> float:
    """Standard deviation over repeats; of a single training the statistical error."""
    std = found[f"{name}_std"]
    return float(found[f"{name}_error"] if std is None else std)


def _score(name: str, mode: Judge, ours: Found, truth: Found | None) -> Score:
    return Score(
        SECTION,
        f"{name.upper()} {mode}",
        ours[name],
        None if truth is None else truth[name],
        spread=spread(ours, name),
        truth_spread=None if truth is None else spread(truth, name),
        summary=True,
        key=key_of(name, mode),
        goal="half" if name == "auc" else "zero",
    )
