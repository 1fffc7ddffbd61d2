"""Names of showers in pictures, which may be as long as a path: what has room beside what."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

MOST = 60  # letters of a name
LINE = 0.21  # of a legend [inches]
_LETTER, _KEY = 0.082, 0.55  # of a legend [inches]


def elided(name: str, most: int = MOST) -> str:
    """A name of so many letters at most: both ends of a longer one, which tell runs apart."""
    if len(name) <= most:
        return name
    back = most // 2
    return f"{name[: most - back - 1]}…{name[-back:]}"


def folded(name: str, width: int, lines: int = 2) -> str:
    """A name in lines of so many letters at most."""
    found = textwrap.wrap(name, width)
    if len(found) <= lines:
        return "\n".join(found)
    short = elided(name, width * lines)
    return "\n".join(short[start : start + width] for start in range(0, len(short), width))


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many labels stand side by side in a figure of this width [inches]."""
    for columns in range(len(labels), 1, -1):
        parts = np.array_split(np.array([len(label) for label in labels]), columns)
        if sum(part.max() * _LETTER + _KEY for part in parts) <= width:
            return columns
    return 1


def legend_labels(labels: Sequence[str], width: float) -> list[str]:
    """The same labels, elided where one alone is wider than the figure [inches]."""
    most = min(MOST, int((width - _KEY) / _LETTER))
    return [elided(label, most) for label in labels]


def legend_below(image: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend below all panels of a constrained figure, in as many columns as have room.

    A figure has room for one line of it, and grows with the others.
    """
    width = image.get_figwidth()
    words = legend_labels(labels, width)
    columns = legend_columns(words, width)
    lines = -(-len(words) // columns)
    image.set_figheight(image.get_figheight() + (lines - 1) * LINE)
    image.legend(list(handles), words, loc="outside lower center", ncols=columns)


def words_above(image: Figure, words: str) -> None:
    """Words with names in them above all panels, in lines that the figure has room for."""
    image.suptitle(folded(words, int(image.get_figwidth() / _LETTER), lines=3), fontsize=10)
