"""Where the scores of an evaluation stand among the published ones, and the files that say so."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from caloman_cli.data.files import write_text
from caloman_cli.evaluation.comparison import Comparison, Drawn
from caloman_cli.evaluation.pareto import auc_over_time
from caloman_cli.evaluation.truth import shared_showers
from caloman_cli.metrics.score import Score
from caloman_cli.published import DATASETS, ranking_tables
from caloman_cli.published.comparability import Comparability, measured
from caloman_cli.published.quantities import QUANTITIES
from caloman_cli.published.ranking import Ranking, rank

TRAININGS = 10  # that a published AUC or log-posterior is the mean of

log = logging.getLogger(__name__)


def standing(
    comparison: Comparison,
    scores: Sequence[Score],
    caveats: Mapping[str, str],
    parameters: int | None,
) -> Ranking | None:
    """The scores among the published ones.

    Args:
        comparison: What was compared.
        scores: All of the evaluation's.
        caveats: Why single quantities may not be compared.
        parameters: The model's number of parameters, where it is known.

    Returns:
        The ranking; None where nothing is published for this detector or nothing that was
        published was measured.
    """
    if comparison.geometry.name not in DATASETS:
        return None
    row, spreads = measured(scores, comparison.device.type, parameters)
    if {key for key, value in row.items() if value is not None} <= {"parameters"}:
        return None  # a number of parameters alone is no standing
    if any(QUANTITIES[key].needs_reference for key in row):
        generated = comparison.generated if comparison.is_judging else None
        comparable = Comparability.of(
            comparison.reference,
            generated,
            caveats,
            protocol=comparison.protocol.name,
            copies=partial(_copies, comparison),
        )
    else:
        comparable = Comparability(caveats=dict(caveats))
    comparable = replace(comparable, remarks=_remarks(scores))
    return rank(comparison.geometry.name, row, comparable, label=comparison.label, spreads=spreads)


def _remarks(scores: Sequence[Score]) -> tuple[str, ...]:
    """Where a published number is a mean of more trainings than ours."""
    by_score = {quantity.score: quantity for quantity in QUANTITIES.values()}
    found: dict[str, list[str]] = {}
    for score in scores:
        trainings = score.conditions.get("trainings")
        if score.key in by_score and trainings is not None and trainings != TRAININGS:
            found.setdefault(f"{trainings:g}", []).append(by_score[score.key].label)
    return tuple(
        f"{', '.join(labels)}: trainings here: {n}, published are means of {TRAININGS}"
        for n, labels in found.items()
    )


def _copies(comparison: Comparison) -> int:
    """How many generated showers are the reference's own, number by number."""
    features = comparison.classifier_features
    return shared_showers(features(comparison.reference), features(comparison.generated))


def write_standing(ranking: Ranking, comparison: Comparison) -> tuple[list[Path], list[Drawn]]:
    """Write ``ranking.md``, ``ranking.csv``, ``ranking.tex`` and the figure.

    Returns:
        The tables' paths and the figures; no figure where the model has no AUC and time.
    """
    texts = {
        "ranking.md": f"# {ranking.ours.name} among the published submissions of "
        f"{ranking.dataset}\n\n{ranking_tables.markdown(ranking)}",
        "ranking.csv": ranking_tables.to_csv(ranking.rows),
        "ranking.tex": ranking_tables.to_tex(ranking.rows),
    }
    for name, text in texts.items():
        write_text(comparison.output / name, text)
    before = len(comparison.figures)
    device = "CPU" if comparison.device.type == "cpu" else "GPU"
    auc = next((key for key in ("AUC low", "AUC high") if key in ranking.ours.values), None)
    if auc is not None and ranking.ours.fastest(device) is not None:
        image = auc_over_time(ranking, device, auc)
        if image is not None:
            comparison.draw(
                "pareto", image, "Quality against speed, among the published submissions"
            )
    return [comparison.output / name for name in texts], comparison.figures[before:]


def console(ranking: Ranking) -> str:
    """What the terminal shows: places, or one line that says why there are none."""
    places = ranking_tables.places(ranking)
    if places is not None and any(ranking.position(key) for key in ranking.ours.values):
        return f"Among the submissions of {ranking.dataset}:\n\n{places.markdown()}"
    why = "; ".join(ranking.comparable.reasons) or "; ".join(
        f"{QUANTITIES[key].label}: {reason}" for key, reason in ranking.comparable.caveats.items()
    )
    return (
        f"Not comparable with the submissions of {ranking.dataset}: {why} (see ranking.md for "
        "the published scores)"
    )
