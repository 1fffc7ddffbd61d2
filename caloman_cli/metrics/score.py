"""Scores beside what real showers score: JSON and CSV for programs, tables for people."""

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from caloman_cli.data.files import write_text
from caloman_cli.metrics.goals import Goal, distance

FORMAT = 2  # of metrics.json: 1 had neither keys nor goals
_TEX = {
    "_": r"\_",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "×10³": r"$\times 10^3$",
    "[10⁶]": r"[$10^6$]",
    "–": "--",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Grid:
    """A table as text, whatever it will be written as.

    Args:
        heads: Headings.
        rows: Cells, row by row.
        numeric: Columns of numbers, which stand to the right.
        strong: Rows that stand out.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: range
    strong: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """A Markdown table that reads well as plain text too."""
        rows = [
            [f"**{cell}**" for cell in row] if index in self.strong else row
            for index, row in enumerate(self.rows)
        ]
        sides = ["right" if i in self.numeric else "left" for i in range(len(self.heads))]
        return str(tabulate(rows, self.heads, "pipe", colalign=sides, disable_numparse=True))

    def latex(self, bold: Collection[tuple[int, int]] = ()) -> str:
        """A LaTeX ``tabular`` (package booktabs).

        Args:
            bold: Row and column of cells that stand out, beside the strong rows.
        """
        sides = "".join("r" if i in self.numeric else "l" for i in range(len(self.heads)))
        lines = [f"\\begin{{tabular}}{{{sides}}}", r"\toprule", _tex_line(self.heads)]
        lines.append(r"\midrule")
        for index, row in enumerate(self.rows):
            marked = [index in self.strong or (index, i) in bold for i in range(len(row))]
            lines.append(_tex_line(row, marked))
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


@dataclass(frozen=True)
class Score:
    """One number about the generated showers, with the number real showers get.

    Args:
        section: The metric, e.g. ``separation power``.
        quantity: What was measured, e.g. ``E_layer/3``.
        generated: The generated showers' value; None where it is not defined.
        truth: The same value for real showers that are independent of the reference.
        floor: Expected value for two samples of one distribution of these sizes.
        truth_floor: The same for the truth sample's size.
        spread: Spread of ``generated`` over repetitions; what it is stands in the section's notes.
        truth_spread: Spread of ``truth``.
        note: Why a value is missing, or a remark.
        summary: Whether the score belongs into the summary on top.
        key: Its name for programs, unique in a table, of letters, digits and ``_``; it never
            changes with a dataset's number of layers or with a wording.
        goal: What is best, see :func:`caloman_cli.metrics.goals.distance`.
        conditions: Settings that the value depends on, as they were used: scores with others
            are another quantity.
    """

    section: str
    quantity: str
    generated: float | None
    truth: float | None = None
    floor: float | None = None
    truth_floor: float | None = None
    spread: float | None = None
    truth_spread: float | None = None
    note: str = ""
    summary: bool = False
    _: KW_ONLY
    key: str
    goal: Goal
    conditions: Mapping[str, str | float | None] = field(default_factory=dict)

    @property
    def from_best(self) -> float | None:
        """How far the value is from the best one; None where that is not known."""
        value = _finite(self.generated)
        return None if value is None else distance(self.goal, value, _finite(self.truth))

    @property
    def over_floor(self) -> float | None:
        """Generated value over its floor: about 1 where nothing is left to tell apart."""
        return _ratio(self.generated, self.floor)

    @property
    def truth_over_floor(self) -> float | None:
        """Truth value over its floor."""
        return _ratio(self.truth, self.truth_floor)


_MISSING = "–"
_COLUMNS = {
    "generated": lambda score: score.generated,
    "spread": lambda score: score.spread,
    "generated/floor": lambda score: score.over_floor,
    "truth": lambda score: score.truth,
    "truth spread": lambda score: score.truth_spread,
    "truth/floor": lambda score: score.truth_over_floor,
}


def summary(scores: Sequence[Score]) -> str:
    """The scores marked for the summary as one Markdown table, section by section."""
    chosen = [score for score in scores if score.summary]
    return score_grid(chosen, with_section=True).markdown() if chosen else ""


def to_csv(scores: Sequence[Score]) -> str:
    """One line per score, full precision, empty where a value is not defined."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["section", "quantity", *_COLUMNS, "note", "key"])
    for score in scores:
        values = [_finite(get(score)) for get in _COLUMNS.values()]
        cells = ["" if value is None else repr(value) for value in values]
        writer.writerow([score.section, score.quantity, *cells, score.note, score.key])
    return stream.getvalue()


def to_json(scores: Sequence[Score], **facts: Any) -> str:
    """Scores and facts as strict JSON: what is not a finite number becomes null."""
    records = [
        {
            **asdict(score),
            "over_floor": score.over_floor,
            "truth_over_floor": score.truth_over_floor,
        }
        for score in scores
    ]
    return (
        json.dumps(
            _plain({"format": FORMAT, **facts, "scores": records}), indent=1, allow_nan=False
        )
        + "\n"
    )


def key_of(*words: object) -> str:
    """A score's key of words: lower-case initials stay, what is no letter or digit is ``_``."""
    return re.sub(r"\W+", "_", "_".join(str(word) for word in words)).strip("_")


def with_unique_keys(scores: Iterable[Score]) -> list[Score]:
    """Number the keys of scores that an earlier one has, as a metric that is asked twice gives."""
    unique: dict[str, Score] = {}
    for score in scores:
        key, n = score.key, 1
        while key in unique:
            n += 1
            key = f"{score.key}_{n}"
        unique[key] = score if n == 1 else replace(score, key=key)
    return list(unique.values())


def write_scores(
    directory: Path, scores: Sequence[Score], notes: Sequence[str], details: Mapping[str, Any]
) -> list[Path]:
    """Write ``metrics.json`` and ``table.csv``, each atomically.

    Args:
        directory: Existing directory.
        scores: All scores.
        notes: What a reader must know before quoting a number.
        details: Everything else that ``metrics.json`` carries: settings, provenance.

    Returns:
        The two paths.
    """
    texts = {
        "metrics.json": to_json(scores, **details, notes=list(notes)),
        "table.csv": to_csv(scores),
    }
    for name, text in texts.items():
        write_text(directory / name, text)
    return [directory / name for name in texts]


def score_grid(scores: Sequence[Score], with_section: bool = False) -> Grid:
    """Scores for readers: spreads stand behind the values, a section only where it begins.

    Args:
        scores: At least one.
        with_section: Begin the first row of each section with its name.
    """
    first = ["metric", "quantity"] if with_section else ["quantity"]
    columns = {
        "generated": lambda score: with_spread(score.generated, score.spread),
        "generated/floor": lambda score: number(score.over_floor),
        "truth": lambda score: with_spread(score.truth, score.truth_spread),
        "truth/floor": lambda score: number(score.truth_over_floor),
        "note": lambda score: score.note,
    }
    shown = {
        name: get
        for name, get in columns.items()
        if name == "generated" or any(get(score) not in ("", _MISSING) for score in scores)
    }
    rows, section = [], None
    for score in scores:
        names = [score.section if score.section != section else "", score.quantity]
        section = score.section
        rows.append([*names[-len(first) :], *(get(score) for get in shown.values())])
    n = len(first) + len(shown) - ("note" in shown)
    return Grid([*first, *shown], rows, range(len(first), n))


def _tex_line(cells: Sequence[str], bold: Sequence[bool] | None = None) -> str:
    """A line of a LaTeX table; ``bold`` says so of each cell."""
    texts = []
    for index, cell in enumerate(cells):
        for plain, command in _TEX.items():
            cell = cell.replace(plain, command)
        texts.append(rf"\textbf{{{cell}}}" if bold is not None and bold[index] else cell)
    return " & ".join(texts) + r" \\"


def with_spread(value: float | None, spread: float | None) -> str:
    """A value as tables show it, with two digits of its spread where there is one."""
    value, spread = _finite(value), _finite(spread)
    if value is None or spread is None:
        return number(value)
    return f"{number(value)} ± {number(float(f'{spread:.2g}'))}"


def number(value: float | None) -> str:
    """A value as tables show it: four digits, a dash where it is not defined."""
    value = _finite(value)
    if value is None:
        return _MISSING
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:.2e}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _ratio(value: float | None, floor: float | None) -> float | None:
    value, floor = _finite(value), _finite(floor)
    return None if value is None or not floor else value / floor


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return _finite(value)
    return str(value)
