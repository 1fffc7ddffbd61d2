"""Published and measured scores as Markdown, CSV and LaTeX."""

import csv
import io
import statistics
from collections.abc import Sequence
from typing import get_args

from caloman_cli.metrics.score import Grid, number
from caloman_cli.published.quantities import QUANTITIES, Quantity, Table
from caloman_cli.published.ranking import Ranking, Row


def markdown(ranking: Ranking) -> str:
    """Notes, places, then a table each for quality, separation powers and cost."""
    parts = ["\n".join(f"> {note}\n>" for note in ranking.notes()).removesuffix("\n>")]
    if (standing := places(ranking)) is not None:
        parts.append(standing.markdown())
    for title, grid in grids(ranking).items():
        parts += [f"### {title}", grid.markdown()]
    return "\n\n".join(part for part in parts if part) + "\n"


def grids(ranking: Ranking) -> dict[str, Grid]:
    """The model's row among all submissions: a table each for quality, separation powers, cost."""
    found = {}
    for table in get_args(Table):
        if shown := columns(ranking.rows, table):
            found[table.capitalize()] = _grid(ranking.rows, shown)
    return found


def places(ranking: Ranking) -> Grid | None:
    """One line per measured quantity that was published."""
    lines = []
    for key, quantity in QUANTITIES.items():
        best = ranking.best(key)
        if key not in ranking.ours.values or best is None:
            continue
        others = [row.value(key) for row in ranking.submissions]
        position = ranking.position(key)
        lines.append(
            [
                quantity.label,
                _shown(quantity, ranking.ours.value(key)),
                "not comparable" if position is None else str(position),
                f"{_shown(quantity, best.value(key))} {best.name}",
                _shown(quantity, statistics.median(x for x in others if x is not None)),
                _shown(quantity, ranking.truth.value(key)),
            ]
        )
    heads = ["quantity", ranking.ours.name, "place", "best", "median", "Geant4"]
    return Grid(heads, lines, range(1, 2)) if lines else None


def columns(rows: Sequence[Row], table: Table) -> list[Quantity]:
    """The quantities of a table of which any row has a value."""
    return [
        quantity
        for key, quantity in QUANTITIES.items()
        if quantity.table == table and any(key in row.values for row in rows)
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """Values and spreads without the factors of the shown tables; empty where not defined."""
    keys = [key for key in QUANTITIES if any(key in row.values for row in rows)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["model", "measured", *(part for key in keys for part in (key, f"{key} ±"))])
    for row in rows:
        cells: list[float | None] = []
        for key in keys:
            value = row.values.get(key)
            cells += [None, None] if value is None else [value.value, value.spread]
        texts = ["" if cell is None else repr(cell) for cell in cells]
        writer.writerow([row.name, "here" if row.ours else "published", *texts])
    return stream.getvalue()


def to_tex(rows: Sequence[Row]) -> str:
    """Quality of every row; the measured one is bold."""
    return _grid(rows, columns(rows, "quality")).latex()


def _grid(rows: Sequence[Row], shown: Sequence[Quantity]) -> Grid:
    heads = ["model", *(quantity.label for quantity in shown)]
    lines = [
        [row.name, *(_shown(quantity, row.value(quantity.key)) for quantity in shown)]
        for row in rows
    ]
    ours = frozenset(index for index, row in enumerate(rows) if row.ours)
    return Grid(heads, lines, range(1, len(heads)), ours)


def _shown(quantity: Quantity, value: float | None) -> str:
    if value is None:
        return "–"
    scaled = value * quantity.scale
    return f"{scaled:.3f}" if quantity.goal == "half" else number(float(f"{scaled:.3g}"))
