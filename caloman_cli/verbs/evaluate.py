"""``caloman evaluate``: score showers against a reference."""

import hashlib
import logging
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.sources import Dataset
from caloman_cli.errors import CannotWrite, FileError, UserError
from caloman_cli.evaluation.choice import (
    answerable,
    available_metrics,
    nothing_computed,
    suite_metrics,
)
from caloman_cli.evaluation.comparison import Comparison, Drawn, Metric, Section
from caloman_cli.evaluation.cost import say_cost
from caloman_cli.evaluation.identity import refuse_another
from caloman_cli.evaluation.inputs import (
    check_truth,
    evaluated_dataset,
    figure_settings,
    open_comparison,
)
from caloman_cli.evaluation.logged import evaluation_logger, tell
from caloman_cli.evaluation.looks import keep_looks
from caloman_cli.evaluation.record import input_facts, input_notes, provenance
from caloman_cli.evaluation.standing import console, standing, write_standing
from caloman_cli.evaluation.timing import environment
from caloman_cli.metrics.score import Score, key_of, summary, with_unique_keys, write_scores
from caloman_cli.report.evaluation import Measured, evaluation_document
from caloman_cli.report.training import CAPTION as TRAINING
from caloman_cli.report.training import curves_of
from caloman_cli.report.write import write_report
from caloman_cli.runs.directory import RunDirectory, find_model
from caloman_cli.runs.provenance import Usage
from caloman_cli.runs.results import appearing, refuse_strangers

log = logging.getLogger(__name__)

_FEW = 500  # built-in showers that a dry run looks at
MARK = "metrics.json"
OWN = (
    MARK, "table.md", "table.csv", "report.html", "report.md", "plots",
    "ranking.md", "ranking.csv", "ranking.tex", "scalars.csv", "histograms.json",
)  # fmt: skip
"""What an evaluation's directory holds; other files in it are not the evaluation's."""


def run(cfg: DictConfig) -> Path:
    """Evaluate a run, or any file of showers.

    Args:
        cfg: The checked config of ``conf/evaluate.yaml``.

    Returns:
        The directory with ``report.html``, ``report.md``, ``metrics.json``, ``table.csv``,
        ``plots/`` and, for the challenge's detectors, ``ranking.md``,
        ``ranking.csv`` and ``ranking.tex``.

    Raises:
        UserError: The choices do not fit together, a file is not valid, or the directory holds
            another evaluation.
    """
    metrics = suite_metrics(cfg)
    chosen = available_metrics(cfg, metrics)
    dataset = evaluated_dataset(cfg)
    comparison = open_comparison(cfg, dataset)
    logger = evaluation_logger(cfg)
    notes = [
        f"{name} was left out: it needs a model, give run=DIR"
        for name in metrics
        if name not in chosen
    ]
    if any("reference" in metric.needs for metric in chosen.values()):
        check_truth(cfg, dataset, comparison)
        say_cost(comparison, chosen, _judged(cfg, comparison), cfg.evaluation.name)
    notes += input_notes(comparison, answerable(comparison, chosen))
    for note in notes:
        log.warning("%s", note)
    final = comparison.output
    refuse_strangers(final, MARK)
    if not cfg.overwrite:
        refuse_another(final, cfg, comparison, chosen)
    keep_looks(final, cfg)
    comparison.pictures = figure_settings(cfg.figures)
    with appearing(final, OWN, MARK) as comparison.output:
        written, texts = _written(cfg, dataset, comparison, chosen, notes)
        paths = [final / path.relative_to(comparison.output) for path in written]
    comparison.output = final
    log.info("%s", "\n\n".join(["", *texts]))
    for path in paths:
        log.info("%s", path)
    if comparison.figures:
        log.info("%d figures in %s", len(comparison.figures), final / "plots")
    tell(logger, cfg, final)
    return final


def dry_run(cfg: DictConfig) -> None:
    """Say what the command would do and cost; nothing is written.

    Args:
        cfg: The checked config of ``conf/evaluate.yaml``.

    Raises:
        UserError: As :func:`run`, but for what only the scores can show.
    """
    chosen = available_metrics(cfg, suite_metrics(cfg))
    dataset = evaluated_dataset(cfg)
    seen = cache(partial(dataset.preview, "reference", _FEW))
    comparison = open_comparison(cfg, dataset, lambda: seen()[0])
    evaluation_logger(cfg)
    refuse_strangers(comparison.output, MARK)
    answerable(comparison, chosen)
    log.info("dry run: nothing is written")
    state = "holds an evaluation" if (comparison.output / MARK).exists() else "new"
    log.info("output: %s (%s)", comparison.output, state)
    log.info("evaluation=%s: %s", cfg.evaluation.name, ", ".join(chosen))
    if any("reference" in metric.needs for metric in chosen.values()):
        check_truth(cfg, dataset, comparison)
        reference, total = seen()
        n = total if cfg.generated is None else min(total, len(comparison.generated))
        log.info("reference: %d showers, %s", total, reference.name)
        log.info("%d showers are scored", n)
        if cfg.run is not None:
            from caloman_cli.runs.sampling import loaded, pace, say_pace  # files need no model

            model, _ = loaded(find_model(Path(cfg.run)), comparison.device)
            energies = np.resize(reference.energies, (total, 1))
            log.info("parameters that draw showers: %d", model.generating_parameters())
            found = pace(model, energies, seed=cfg.seed, batch_size=cfg.batch_size)
            say_pace(found, n, comparison.device)
        say_cost(comparison, chosen, n, cfg.evaluation.name, always=True)


def _judged(cfg: DictConfig, comparison: Comparison) -> int:
    """How many showers of each side will be compared; a run's are not drawn for that."""
    n = len(comparison.reference)
    return n if cfg.generated is None else min(n, len(comparison.generated))


def _written(
    cfg: DictConfig,
    dataset: Dataset,
    comparison: Comparison,
    chosen: dict[str, Metric],
    notes: list[str],
) -> tuple[list[Path], list[str]]:
    """Measure, and write all results into the comparison's output.

    Returns:
        The files, and the tables that the terminal shows.
    """
    measured: list[Measured] = []
    details: dict[str, Any] = {}
    for name, metric in chosen.items():
        item, cost = _measured(name, metric, comparison)
        measured.append(item)
        details[name] = {**item.section.details, "cost": cost}
    _require_a_number(measured)
    scores = with_unique_keys(
        score for item in measured for score in item.section.with_conditions()
    )
    caveats = {key: why for item in measured for key, why in item.section.caveats.items()}
    parameters = None
    if cfg.run is not None:
        parameters = int(environment(comparison.model, comparison.device)["parameters"])
    ranking = standing(comparison, scores, caveats, parameters)
    paths, pareto = ([], []) if ranking is None else write_standing(ranking, comparison)
    title = f"{comparison.label} on {dataset.name}: {cfg.evaluation.name}"
    training = _training(cfg, comparison)
    facts, record = input_facts(comparison), provenance(cfg, comparison)
    standings = {} if ranking is None else {"ranking": ranking.to_dict()}
    paths += write_scores(
        comparison.output,
        scores,
        [*notes, *(note for item in measured for note in item.section.notes)],
        {"dataset": dataset.name, **record, **standings, "metrics": details},
    )
    document = evaluation_document(
        title, facts, notes, measured, ranking, pareto, training, record
    )
    paths += write_report(comparison.output, document)
    return paths, [summary(scores), *([] if ranking is None else [console(ranking)])]


def _training(cfg: DictConfig, comparison: Comparison) -> list[Drawn]:
    """The curves of the run's training, where its history is there."""
    if cfg.run is None:
        return []
    image = curves_of(RunDirectory(find_model(Path(cfg.run)).parent))
    if image is None:
        return []
    comparison.draw("training", image, TRAINING)
    return comparison.figures[-1:]


def _measured(name: str, metric: Metric, comparison: Comparison) -> tuple[Measured, dict]:
    """One metric with its cost; what cannot be computed is a row that says why."""
    log.info("%s ...", name)
    before, missing = len(comparison.figures), None
    usage = Usage(comparison.device)
    with usage:
        try:
            section = metric(comparison)
            if "generated" in metric.needs and comparison.is_judging:
                section.conditions.update(_detector(comparison.geometry))
                section.conditions["generated showers"] = len(comparison.generated)
        except (CannotWrite, FileError):
            raise
        except UserError as error:
            missing = Score(
                name, "not computed", None, note=str(error), summary=True,
                key=key_of(name, "not_computed"), goal="lower",
            )  # fmt: skip
            section = Section([missing])
    log.info("%s: %.1f s%s", name, usage.seconds, ", not computed" if missing else "")
    item = Measured(name, section, comparison.figures[before:], usage.seconds)
    return item, {"seconds": round(usage.seconds, 2), **usage.memory()}


def _require_a_number(measured: list[Measured]) -> None:
    """Say what could not be computed; where that is all, a table of it is no result: a Failure."""
    missing = [
        score
        for item in measured
        for score in item.section.scores
        if score.quantity == "not computed"
    ]
    if len(missing) == len(measured):
        raise nothing_computed([score.note for score in missing])
    for score in missing:
        log.warning("%s could not be computed: %s", score.section, score.note)


def _detector(geometry: Geometry) -> dict[str, str | float]:
    """What scores depend on of a detector, which a setting may change under an equal name."""
    layers = hashlib.blake2b(repr(geometry.layers).encode(), digest_size=4).hexdigest()
    return {"layers": layers, "detector's cut": geometry.threshold}
