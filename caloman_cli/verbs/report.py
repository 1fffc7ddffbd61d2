"""``caloman report``: many evaluations in one table and one picture."""

import logging
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import DictConfig

from caloman_cli import __version__
from caloman_cli.data.files import write_text
from caloman_cli.evaluation.style import save
from caloman_cli.metrics.score import Grid
from caloman_cli.report.comparison import RunComparison, compare_runs, to_csv
from caloman_cli.report.document import Block, Document, Items, Part, Picture, Table, Text
from caloman_cli.report.found import find_evaluations
from caloman_cli.report.runs import Panel, run_scores
from caloman_cli.report.seeds import over_seeds
from caloman_cli.report.write import write_report
from caloman_cli.runs.results import appearing

log = logging.getLogger(__name__)

PANELS = 16
MARK = "runs.csv"
OWN = (MARK, "runs.tex", "report.html", "report.md", "plots")


def run(cfg: DictConfig) -> Path:
    """Compare what was evaluated.

    Args:
        cfg: The checked config of ``conf/report.yaml``.

    Returns:
        The directory with ``report.html``, ``report.md``, ``runs.csv``, ``runs.tex`` and
        ``plots/``.

    Raises:
        UserError: Nothing was evaluated there, a choice is not among what was measured, or the
            directory holds something else than a report.
    """
    patterns = [cfg.runs] if isinstance(cfg.runs, str) else list(cfg.runs)
    found = find_evaluations(patterns, cfg.suite)
    comparisons = compare_runs(over_seeds(found) if cfg.by == "seed" else found, cfg.sort)
    output = Path(cfg.output)
    with appearing(output, OWN, MARK) as folder:
        paths = [output / path.relative_to(folder) for path in _written(comparisons, folder)]
    tables = [
        f"{item.dataset}, {item.reference}, {item.protocol}, by {item.by.label}:\n\n"
        f"{_short(item).markdown()}"
        for item in comparisons
    ]
    log.info("%s", "\n\n".join(["", *tables]))
    for path in paths:
        log.info("%s", path)
    return output


def _written(comparisons: list[RunComparison], output: Path) -> list[Path]:
    """Write all files of the report into an empty folder."""
    (output / "plots").mkdir()
    parts = []
    for number, item in enumerate(comparisons, 1):
        stem = "runs" if len(comparisons) == 1 else f"runs_{number}"
        picture = save(_figure(item), output / "plots" / f"{stem}.png")
        parts.append(_part(item, picture, shared=len(comparisons) > 1))
    texts = {"runs.csv": to_csv(comparisons), "runs.tex": "\n".join(map(_tex, comparisons))}
    for name, text in texts.items():
        write_text(output / name, text)
    n = sum(len(item.rows) for item in comparisons)
    title = f"{n} evaluation{'s' if n > 1 else ''} compared"
    document = Document(title, f"Compared with caloman {__version__}", parts)
    return [*(output / name for name in texts), *write_report(output, document)]


def _part(item: RunComparison, picture: Path, shared: bool) -> Part:
    blocks: list[Block] = [
        Text(
            f"Judged by {item.reference}, protocol {item.protocol}; best {item.by.label} first "
            f"(sort={item.by.key})."
            + (
                " Scores against other showers or by another protocol stand in tables of their "
                "own: they cannot be compared."
                if shared
                else ""
            )
        ),
        *([Items(notes)] if (notes := item.notes()) else []),
        Table(item.grid),
        Picture(picture, f"Scores on {item.dataset}; dashed: independent real showers"),
        Table(
            Grid(
                ["run", "suite", "folder"],
                [[name, row.suite, _from_here(row.folder)] for name, row in item.rows.items()],
                range(0),
            ),
            "Where they lie",
        ),
    ]
    title = f"{item.dataset}: {item.reference}, {item.protocol}" if shared else item.dataset
    return Part(title, blocks)


def _figure(item: RunComparison) -> Figure:
    panels = []
    for column in item.columns[:PANELS]:
        scores = [item.score(row, column) for row in item.rows]
        real = item.truth(column)
        panels.append(
            Panel(
                textwrap.fill(column.label, 34),
                [None if score is None else score.generated for score in scores],
                [None if score is None else score.spread for score in scores],
                None if real is None else real.truth,
            )
        )
    return run_scores(list(item.rows), panels)


def _short(item: RunComparison) -> Grid:
    """For a terminal: the quantity that orders, and the first of the others."""
    grid = item.grid
    return Grid(grid.heads[:7], [row[:7] for row in grid.rows], range(2, 7))


def _tex(item: RunComparison) -> str:
    return f"% {item.dataset}, {item.reference}, {item.protocol}\n{item.to_tex()}"


def _from_here(folder: Path) -> str:
    """A folder as it is from the working directory, where it lies below that."""
    here = Path.cwd().resolve()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
