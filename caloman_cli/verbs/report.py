"""``caloman report``: many evaluations in one table and one picture."""

import logging
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import DictConfig

from caloman_cli import __version__
from caloman_cli.config.figures import ReportLabels
from caloman_cli.data.files import write_text
from caloman_cli.evaluation.looks import formats_beside
from caloman_cli.evaluation.style import save
from caloman_cli.metrics.score import Grid
from caloman_cli.report.comparison import RunComparison, compare_runs
from caloman_cli.report.document import Block, Document, Fold, Items, Part, Picture, Table, Text
from caloman_cli.report.overlays import overlay_of
from caloman_cli.report.rows import find_rows
from caloman_cli.report.runs import Panel, run_scores
from caloman_cli.report.seeds import over_seeds
from caloman_cli.report.tables import (
    grid,
    settings_grid,
    settings_note,
    short,
    shown_settings,
    to_csv,
    to_tex,
)
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
    rows, by_seed = find_rows(patterns, cfg.suite), cfg.by == "seed"
    but = ["seed"] if by_seed else []
    comparisons = compare_runs(over_seeds(rows) if by_seed else rows, cfg.sort, but)
    output = Path(cfg.output)
    cfg.figures.format = formats_beside(output, cfg.figures.format)
    with appearing(output, OWN, MARK) as folder:
        paths = [output / path.relative_to(folder) for path in _written(cfg, comparisons, folder)]
    tables = [f"{item.heading}:\n\n{short(item).markdown()}" for item in comparisons]
    log.info("%s", "\n\n".join(["", *tables]))
    for path in paths:
        log.info("%s", path)
    return output


def _written(cfg: DictConfig, comparisons: list[RunComparison], output: Path) -> list[Path]:
    """Write all files of the report into an empty folder."""
    plots = output / "plots"
    plots.mkdir()
    parts, shared = [], len(comparisons) > 1
    looks = cfg.figures.format, cfg.figures.dpi
    labels = ReportLabels(cfg.figures.labels.reference, cfg.figures.labels.truth)
    for number, item in enumerate(comparisons, 1):
        behind = f"_{number}" if shared else ""
        picture = None
        if item.columns:
            picture = save(_figure(item), plots / f"runs{behind}.png", *looks)
        parts.append(_part(item, picture, shared))
        if cfg.overlay != "none":
            overlay = overlay_of(item, cfg.band)
            drawn = [
                Picture(save(image, plots / f"{stem}{behind}.png", *looks), caption)
                for stem, image, caption in overlay.pages(cfg.overlay == "all", labels)
            ]
            notes: list[Block] = [Items(overlay.notes)] if overlay.notes else []
            if drawn or notes:
                parts.append(Part(f"Histograms, {_title(item, shared)}", [*notes, *drawn]))
    texts = {"runs.csv": to_csv(comparisons), "runs.tex": "\n".join(map(_tex, comparisons))}
    for name, text in texts.items():
        write_text(output / name, text)
    n = sum(len(item.rows) for item in comparisons)
    title = f"{n} run{'s' if n > 1 else ''} compared"
    document = Document(title, f"Compared with caloman {__version__}", parts)
    return [*(output / name for name in texts), *write_report(output, document)]


def _part(item: RunComparison, picture: Path | None, shared: bool) -> Part:
    notes = [*item.notes(), *([note] if (note := settings_note(item)) else [])]
    blocks: list[Block] = [
        Text(
            _judged(item)
            + (
                " Scores against other showers or by another protocol stand in tables of their "
                "own: they cannot be compared."
                if shared
                else ""
            )
        ),
        *([Items(notes)] if notes else []),
        Table(grid(item)),
    ]
    if picture is not None:
        caption = f"Scores on {item.dataset}; dashed: independent real showers"
        blocks.append(Picture(picture, caption))
    if len(shown_settings(item)) < len(item.settings):
        blocks.append(Fold("In what the runs differ", [Table(settings_grid(item))]))
    blocks.append(Table(_places(item), "Where they lie"))
    return Part(_title(item, shared), blocks)


def _title(item: RunComparison, shared: bool) -> str:
    return item.title if shared else item.dataset


def _places(item: RunComparison) -> Grid:
    states = item.unfinished()
    rows = [
        [name, row.suite, _from_here(row.folder), states.get(name, "")]
        for name, row in item.rows.items()
    ]
    heads = ["run", "suite", "folder", "not finished"]
    n = 4 if states else 3
    return Grid(heads[:n], [row[:n] for row in rows], range(0))


def _judged(item: RunComparison) -> str:
    order = "" if item.by is None else f"best {item.by.label} first (sort={item.by.key})."
    if not item.protocol:
        return f"Nothing of this was evaluated yet; {order}" if order else "No scores yet."
    return f"Judged by {item.reference}, protocol {item.protocol}; {order}"


def _figure(item: RunComparison) -> Figure:
    panels = []
    columns = [column for column in item.columns if not column.validation] or item.columns
    names = [row for row in item.rows if any(item.score(row, column) for column in columns)]
    for column in columns[:PANELS]:
        scores = [item.score(row, column) for row in names]
        real = item.truth(column)
        panels.append(
            Panel(
                textwrap.fill(column.label, 34),
                [None if score is None else score.generated for score in scores],
                [None if score is None else score.spread for score in scores],
                None if real is None else real.truth,
            )
        )
    return run_scores(names, panels)


def _tex(item: RunComparison) -> str:
    return f"% {item.title}\n{to_tex(item)}"


def _from_here(folder: Path) -> str:
    """A folder as it is from the working directory, where it lies below that."""
    here = Path.cwd().resolve()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
