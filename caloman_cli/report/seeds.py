"""Runs that differ in their seed alone, as one evaluation: mean and spread of every score."""

import logging
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from caloman_cli.errors import UserError
from caloman_cli.metrics.score import Score
from caloman_cli.report.found import Evaluation
from caloman_cli.runs.differences import differences
from caloman_cli.runs.directory import RunDirectory

log = logging.getLogger(__name__)


def over_seeds(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """One evaluation for each set of runs whose configs differ in the seed alone.

    A score is the mean over the seeds, its spread their standard deviation; the same holds for
    what real showers score. What was not made by a run, and a run with no sibling, stays alone; so
    does one whose seed occurs among its siblings already, which is said.

    Args:
        evaluations: Of one reference or several.

    Raises:
        UserError: A run's config is not there.
    """
    groups: list[tuple[Any, list[tuple[int, Evaluation]]]] = []
    for item in evaluations:
        if item.run is None or (item.job is not None and item.job.state != "ok"):
            groups.append((None, [(0, item)]))
            continue
        seed, config = _config(item)
        same = [
            members
            for other, members in groups
            if other is not None and _siblings(members[0][1], other, item, config)
        ]
        others = [members for members in same if seed not in dict(members)]
        if others:
            others[0].append((seed, item))
            continue
        if same:
            _say_twins(seed, dict(same[0])[seed], item)
        groups.append((config, [(seed, item)]))
    return [_merged(members) for _, members in groups]


def _config(item: Evaluation) -> tuple[int, dict[str, Any]]:
    """A run's seed, and the rest of its config."""
    assert item.run is not None
    config: Any = None if item.job is None else item.job.config
    if config is None:
        try:
            config = OmegaConf.to_container(RunDirectory(item.run).config)
        except UserError as error:
            raise UserError(f"by=seed compares the configs of runs: {error}") from error
    return config.get("seed", 0), {key: value for key, value in config.items() if key != "seed"}


def _siblings(first: Evaluation, config: Any, second: Evaluation, other: Any) -> bool:
    """Whether two runs differ in no more than the seed and were judged alike."""
    rules = [(item.dataset, item.reference, item.protocol, item.truth) for item in (first, second)]
    # Where files lie makes no other run as long as their content is checked. Not so here.
    files = [side.get("dataset", {}).get("train") for side in (config, other)]
    return rules[0] == rules[1] and files[0] == files[1] and not differences(config, other)


def _say_twins(seed: int, first: Evaluation, second: Evaluation) -> None:
    log.warning(
        "by=seed: seed %d occurs twice, in %s and %s, which differ by nothing: the second has a"
        " row of its own",
        *(seed, os.path.relpath(first.folder), os.path.relpath(second.folder)),
    )


def _merged(members: list[tuple[int, Evaluation]]) -> Evaluation:
    members = sorted(members, key=lambda member: member[0])
    seeds = [seed for seed, _ in members]
    items = [item for _, item in members]
    if len(items) == 1:
        return items[0]
    found: dict[tuple, list[Score]] = {}
    for item in items:
        for score in item.scores:
            found.setdefault((score.key, frozenset(score.conditions.items())), []).append(score)
    return replace(
        items[0],
        folder=Path(os.path.commonpath([item.folder for item in items])),
        label=f"{_called(items)}seeds {', '.join(map(str, seeds))}",
        suites=tuple(dict.fromkeys(name for item in items for name in item.suites)),
        scores=tuple(_mean(scores, len(items)) for scores in found.values()),
        seeds=tuple(seeds),
        parts=tuple(part for item in items for part in item.parts),
    )


def _mean(scores: list[Score], n: int) -> Score:
    generated = [score.generated for score in scores if score.generated is not None]
    truths = [score.truth for score in scores if score.truth is not None]
    notes = list(dict.fromkeys(score.note for score in scores if score.note))
    if len(generated) < n:
        notes.append(f"{len(generated)} of {n} seeds")
    first = scores[0]
    return replace(
        first,
        generated=statistics.fmean(generated) if generated else None,
        spread=statistics.stdev(generated) if len(generated) > 1 else None,
        truth=statistics.fmean(truths) if truths else None,
        # Real showers that are scored alike each time keep the error of their score.
        truth_spread=statistics.stdev(truths) if len(set(truths)) > 1 else first.truth_spread,
        note="; ".join(notes),
    )


def _called(items: list[Evaluation]) -> str:
    """What siblings are called, with a comma; where all have one ``name=``, their folders, too."""
    labels = [item.label for item in items]
    homes = [item.label if item.job is None else item.job.folder.name for item in items]
    if len(set(labels)) > 1 or labels == homes or any(home[:1].isdigit() for home in homes):
        return _shared(labels)
    return f"{labels[0]}, {_shared(homes)}"


def _shared(labels: list[str]) -> str:
    """What the names of siblings have in common, with a comma; nothing where that is the seed."""
    # A name that was cut has a hash behind it, of the seed, too.
    bare = {re.sub(r"(^|[-_.])seed[-_]?\d+|_[0-9a-f]{8}$", "", label) for label in labels}
    if len(bare) == 1:
        common = bare.pop().strip("_-., ")
    else:
        common = os.path.commonprefix(labels).rstrip("_-., 0123456789") or labels[0]
    return f"{common}, " if common else ""
