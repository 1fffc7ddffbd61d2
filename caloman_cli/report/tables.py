"""The comparison of many runs as tables: for people, for programs, for a paper."""

import csv
import io
from collections.abc import Sequence

from caloman_cli.metrics.score import Grid, Score, with_spread
from caloman_cli.report.comparison import TRUTH, RunComparison
from caloman_cli.report.settings import Setting, together

_SETTINGS = 6  # columns of settings; beyond that, one for those that change together
_OF_A_TERMINAL = 7


def grid(item: RunComparison) -> Grid:
    """Real showers, where they were scored, then a row for each run."""
    settings, states = shown_settings(item), _states(item)
    heads = ["run", *(["state"] if states else []), *(s.key for s in settings), "suite"]
    real = [_cell(item.truth(column), truth=True) for column in item.columns]
    lines = []
    if set(real) - {"–"}:
        lines.append([TRUTH, *[""] * (len(heads) - 1), *real])
    for number, (row, evaluation) in enumerate(item.rows.items()):
        facts = [states[row]] if states else []
        facts += [setting.values[number] for setting in settings]
        cells = [_cell(item.score(row, column)) for column in item.columns]
        lines.append([row, *facts, evaluation.suite, *cells])
    whole = [*heads, *(column.label for column in item.columns)]
    return Grid(whole, lines, range(len(heads), len(whole)))


def short(item: RunComparison) -> Grid:
    """For a terminal: in what the runs differ, the quantity that orders, some of the others."""
    whole = grid(item)
    first = whole.numeric.start
    suite = first - 1
    kept = [i for i in range(len(whole.heads)) if i != suite]
    n = max(_OF_A_TERMINAL, suite + 4)
    kept = kept[:n]
    return Grid(
        [whole.heads[i] for i in kept],
        [[row[i] for i in kept] for row in whole.rows],
        range(suite, len(kept)),
    )


def shown_settings(item: RunComparison) -> list[Setting]:
    """The settings that a table shows: all, or of many those that tell the runs apart."""
    if len(item.settings) <= _SETTINGS:
        return list(item.settings)
    return list(together(item.settings))[:_SETTINGS]


def settings_grid(item: RunComparison) -> Grid:
    """Every setting in which the runs differ, a row each."""
    rows = [[setting.key, *setting.values] for setting in item.settings]
    return Grid(["key", *item.rows], rows, range(0))


def settings_note(item: RunComparison) -> str:
    """What a table does not show of the settings; nothing where it shows all."""
    if len(item.settings) <= _SETTINGS:
        return ""
    shown = shown_settings(item)
    alike = together(item.settings)
    said = [f"{s.key} changes together with {', '.join(alike[s])}" for s in shown if alike[s]]
    more = len(alike) - len(shown)
    said += [f"{more} more keys differ"] if more > 0 else []
    return f"{'; '.join(said)}: all are in runs.csv." if said else ""


def to_tex(item: RunComparison) -> str:
    """A LaTeX ``tabular`` (package booktabs), the best value of each quantity bold."""
    whole = grid(item)
    first = whole.numeric.start
    best = {
        first + index: item.best(column)
        for index, column in enumerate(item.columns)
        if not column.validation
    }
    bold = {
        (row, column)
        for row, cells in enumerate(whole.rows)
        for column, name in best.items()
        if name == cells[0]
    }
    return whole.latex(bold)


def to_csv(comparisons: Sequence[RunComparison]) -> str:
    """All rows of all comparisons with values and spreads in full precision."""
    names = list(dict.fromkeys(c.label for item in comparisons for c in item.columns))
    keys = list(dict.fromkeys(s.key for item in comparisons for s in item.settings))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [part for name in names for part in (name, f"{name} ±")]
    first = ["dataset", "reference", "protocol", "run", "suite", "folder", "state"]
    writer.writerow([*first, *keys, *heads])
    for item in comparisons:
        columns = {column.label: column for column in item.columns}
        settings = {setting.key: setting.values for setting in item.settings}
        states = item.states()
        for number, (row, evaluation) in enumerate(item.rows.items()):
            scores = [
                item.score(row, columns[name]) if name in columns else None for name in names
            ]
            values = [
                value
                for score in scores
                for value in ((None, None) if score is None else (score.generated, score.spread))
            ]
            where = [item.dataset, item.reference, item.protocol, row, evaluation.suite]
            facts = [settings[key][number] if key in settings else "" for key in keys]
            cells = ("" if v is None else repr(v) for v in values)
            writer.writerow([*where, str(evaluation.folder), states[row], *facts, *cells])
    return stream.getvalue()


def _states(item: RunComparison) -> dict[str, str]:
    """The states, where they say anything."""
    states = item.states()
    return states if set(states.values()) - {"ok", ""} else {}


def _cell(score: Score | None, truth: bool = False) -> str:
    if score is None:
        return "–"
    value, spread = (score.truth, score.truth_spread) if truth else (score.generated, score.spread)
    return with_spread(value, spread)
