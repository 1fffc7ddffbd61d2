"""An evaluation told to a logger: that of ``logger=``, else the one that watched the training."""

import csv
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from caloman_cli.data.files import read_json
from caloman_cli.errors import UserError
from caloman_cli.loggers import Evaluated, Logger, NoLogger, make_logger
from caloman_cli.loggers.evaluated import Cell, Point, Scalar, Sheet
from caloman_cli.metrics.score import key_of
from caloman_cli.runs.directory import RunDirectory, find_model

log = logging.getLogger(__name__)

_COLUMNS = {
    "key": "key",
    "quantity": "quantity",
    "generated": "generated",
    "error": "spread",
    "generated/floor": "over_floor",
    "truth": "truth",
    "truth error": "truth_spread",
    "truth/floor": "truth_over_floor",
    "note": "note",
}
"""Heading -> what ``metrics.json`` calls it."""


def evaluation_logger(cfg: DictConfig) -> Logger:
    """Who is told of an evaluation.

    Args:
        cfg: The verb's config. Where ``logger`` is null, the logger of the run's training counts.

    Raises:
        UserError: A setting of ``logger=`` is wrong, or its package is not there.
    """
    if cfg.logger is not None:
        return make_logger(cfg.logger)
    if cfg.run is None:
        return NoLogger()
    run = RunDirectory(find_model(Path(cfg.run)).parent)
    if not run.config_path.is_file():
        return NoLogger()
    try:
        config = run.config
        return make_logger(config.logger) if "logger" in config else NoLogger()
    except UserError as error:
        log.warning("the run's logger is not told (%s): give logger=", error)
        return NoLogger()


def tell(logger: Logger, cfg: DictConfig, output: Path) -> None:
    """Tell a logger what an evaluation has written.

    Args:
        logger: From :func:`evaluation_logger`.
        cfg: The verb's config.
        output: The evaluation's directory.
    """
    home = output
    if cfg.run is not None:
        folder = find_model(Path(cfg.run)).parent
        home = folder if os.access(folder, os.W_OK) else output
    logger.evaluated(read_evaluation(output, home))


def read_evaluation(output: Path, home: Path) -> Evaluated:
    """An evaluation as its directory has it.

    Args:
        output: The directory, with ``metrics.json``.
        home: Where loggers keep their files.
    """
    metrics = read_json(output / "metrics.json")
    scores = metrics["scores"]
    scalars = [
        Scalar(score["key"], score["generated"], score["truth"], score["spread"], score["summary"])
        for score in scores
        if score["generated"] is not None or score["truth"] is not None
    ]
    headlines = [score for score in scores if score["summary"]]
    sheets = {"summary": _sheet(headlines, True)} if headlines else {}
    for section in dict.fromkeys(score["section"] for score in scores):
        members = [score for score in scores if score["section"] == section]
        sheets[key_of(section)] = _sheet(members, False)
    if (output / "ranking.csv").is_file():
        sheets["ranking"] = _read_sheet(output / "ranking.csv")
    return Evaluated(
        label=metrics["label"],
        suite=metrics["settings"]["evaluation"]["name"],
        home=home,
        output=output,
        scalars=scalars,
        sheets=sheets,
        points=[
            Point(key_of(point["measure"]), point["batch_size"], point["median"])
            for metric in metrics["metrics"].values()
            for point in metric.get("points", [])
            if point["median"] is not None
        ],
        figures=[output / name for name in metrics["figures"]],
        settings=metrics["settings"],
    )


def _sheet(scores: list[Mapping[str, Any]], with_section: bool) -> Sheet:
    columns = ({"metric": "section"} if with_section else {}) | _COLUMNS
    rows = [[score[name] for name in columns.values()] for score in scores]
    return Sheet(list(columns), rows)


def _read_sheet(path: Path) -> Sheet:
    """A CSV table whose cells are texts, numbers or nothing."""
    with path.open(encoding="utf-8", newline="") as file:
        heads, *lines = csv.reader(file)
    return Sheet(heads, [[_cell(text) for text in line] for line in lines])


def _cell(text: str) -> Cell:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text
