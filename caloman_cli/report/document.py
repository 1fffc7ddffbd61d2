"""What a report says, without how it looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caloman_cli.metrics.score import Grid


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; ``warning`` for what a reader must know before quoting a number."""

    items: Sequence[str]
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    grid: Grid
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG file with its caption, which also stands where pictures cannot."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Listing:
    """Text as it is, in a fixed-width font."""

    text: str


@dataclass(frozen=True)
class Fold:
    """Details that are shown when asked for."""

    title: str
    blocks: Sequence["Block"]


Block = Text | Items | Table | Picture | Listing | Fold


@dataclass(frozen=True)
class Part:
    """A section with a place in the navigation."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Args:
        title: Heading.
        subtitle: One line below it.
        parts: Sections in order.
    """

    title: str
    subtitle: str
    parts: Sequence[Part]
