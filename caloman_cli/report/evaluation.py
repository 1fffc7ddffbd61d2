"""The report of one evaluation."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from caloman_cli.evaluation.comparison import Drawn, Section
from caloman_cli.metrics.score import Grid, Score, number, score_grid
from caloman_cli.published import ranking_tables
from caloman_cli.published.ranking import Ranking
from caloman_cli.report.document import (
    Block,
    Document,
    Fold,
    Items,
    Listing,
    Part,
    Picture,
    Table,
    Text,
)

LONG = 16  # rows above which a table is folded


@dataclass(frozen=True)
class Measured:
    """One metric of a suite: what it found, its figures, what it cost.

    Args:
        name: Its place in the suite.
        section: What it found.
        figures: What it drew.
        seconds: Wall time [s].
    """

    name: str
    section: Section
    figures: Sequence[Drawn]
    seconds: float


def evaluation_document(
    title: str,
    facts: Sequence[str],
    notes: Sequence[str],
    measured: Sequence[Measured],
    ranking: Ranking | None,
    pareto: Sequence[Drawn],
    training: Sequence[Drawn],
    record: Mapping[str, Any],
) -> Document:
    """Put an evaluation in order for readers.

    Args:
        title: Heading.
        facts: Lines about the inputs.
        notes: About the inputs: what a reader must know before quoting a number.
        measured: The metrics of the suite.
        ranking: The scores among the published ones, or None where there are none.
        pareto: Figures of quality against speed.
        training: How the model was trained, where that is known.
        record: What :func:`caloman_cli.evaluation.record.provenance` collected.
    """
    scores = [score for item in measured for score in item.section.scores]
    parts = [Part("Summary", _summary(facts, notes, scores))]
    if ranking is not None:
        parts.append(Part("Among published models", _standing(ranking, pareto)))
    parts += [Part(_title(item), _metric(item)) for item in measured]
    if training:
        parts.append(Part("Training", _pictures(training)))
    parts.append(Part("Provenance", _provenance(measured, record)))
    version = record["provenance"]["versions"]["caloman"]
    return Document(title, f"Evaluated with caloman {version}", parts)


def _summary(facts: Sequence[str], notes: Sequence[str], scores: Sequence[Score]) -> list[Block]:
    blocks: list[Block] = [Items(facts)] if facts else []
    if notes:
        blocks.append(Items(notes, warning=True))
    chosen = [score for score in scores if score.summary]
    if chosen:
        blocks.append(Table(score_grid(chosen, with_section=True)))
        blocks.append(
            Text(
                "truth: the same number for independent real showers, which no model can beat but "
                "by chance. floor: what two samples of one distribution give."
            )
        )
    return blocks


def _standing(ranking: Ranking, pareto: Sequence[Drawn]) -> list[Block]:
    blocks: list[Block] = [Items(ranking.notes(), warning=bool(ranking.comparable.reasons))]
    places = ranking_tables.places(ranking)
    if places is None:
        blocks.append(Text("Nothing that was published was measured here."))
    else:
        blocks.append(Table(places))
    blocks += _pictures(pareto)
    tables = [Table(grid, title) for title, grid in ranking_tables.grids(ranking).items()]
    if tables:
        blocks.append(Fold(f"All submissions of {ranking.dataset}", tables))
    return blocks


def _title(item: Measured) -> str:
    scores = item.section.scores
    title = scores[0].section if scores else item.name
    return title[:1].upper() + title[1:]


def _metric(item: Measured) -> list[Block]:
    scores = item.section.scores
    blocks: list[Block] = [Items(item.section.notes)] if item.section.notes else []
    top = [score for score in scores if score.summary]
    if 0 < len(scores) <= LONG:
        blocks.append(Table(score_grid(scores)))
    elif scores:
        if top:
            blocks.append(Table(score_grid(top)))
        blocks.append(Fold(f"All {len(scores)} rows", [Table(score_grid(scores))]))
    blocks += [Table(grid, caption) for caption, grid in item.section.tables.items()]
    return [*blocks, *_pictures(item.figures)]


def _pictures(figures: Sequence[Drawn]) -> list[Block]:
    return [Picture(drawn.path, drawn.caption) for drawn in figures]


def _provenance(measured: Sequence[Measured], record: Mapping[str, Any]) -> list[Block]:
    found = record["provenance"]
    git = found["git"]
    commit = "no checkout" if git is None else str(git["commit"])
    rows = [
        ["command", _portable(_command(str(found["command"])))],
        ["commit", commit + (" with changes" if git is not None and git["dirty"] else "")],
        ["device", f"{found['device']['name']} ({found['device']['type']})"],
        ["processors, threads", f"{found['cpus']}, {found['threads']}"],
        ["system", str(found["platform"])],
        *([f"version of {name}", str(version)] for name, version in found["versions"].items()),
        ["SHA-256 of the settings", str(found["config_sha256"])],
    ]
    inputs = [
        [role, f"{facts['showers']:,}", facts["fingerprint"][:16], ", ".join(facts["files"])]
        for role, facts in record["inputs"].items()
    ]
    costs = [[item.name, number(item.seconds)] for item in measured]
    blocks: list[Block] = [Table(Grid(["", ""], rows, range(0)))]
    if inputs:
        heads = ["input", "showers", "content (BLAKE2b)", "files"]
        blocks.append(Table(Grid(heads, inputs, range(1, 2)), "Inputs"))
    if costs:
        blocks.append(Table(Grid(["metric", "seconds"], costs, range(1, 2)), "Cost"))
    settings = OmegaConf.to_yaml(OmegaConf.create(record["settings"]))
    return [*blocks, Fold("Settings", [Listing(_portable(settings))])]


def _portable(text: str) -> str:
    """Paths as they are from the working directory, or from home: a page is shown to others."""
    for folder, short in ((f"{Path.cwd()}/", ""), (f"{Path.home()}/", "~/")):
        text = text if folder == "//" else text.replace(folder, short)
    return text


def _command(text: str) -> str:
    """The command without the folder of its program."""
    program, *rest = shlex.split(text)
    return shlex.join([Path(program).name, *rest])
