"""A report as one HTML file: style and pictures inside, nothing from the network."""

import base64
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from caloman_cli.metrics.score import Grid
from caloman_cli.report.document import Block, Document, Fold, Items, Listing, Picture, Table, Text

WIDE = 48  # characters: a column with a longer cell is kept wide
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="caloman">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<nav aria-label="Sections"><p class="brand">caloman</p><ul>
{links}
</ul></nav>
<main>
<header><h1>{title}</h1><p>{subtitle}</p></header>
{parts}
</main>
</body>
</html>
"""


def to_html(document: Document) -> str:
    """The whole page; pictures are read now and embedded."""
    anchors = _anchors([part.title for part in document.parts])
    links, parts = [], []
    for anchor, part in zip(anchors, document.parts, strict=True):
        links.append(f'<li><a href="#{anchor}">{escape(part.title)}</a></li>')
        body = "\n".join(_block(block) for block in part.blocks)
        parts.append(f'<section id="{anchor}">\n<h2>{escape(part.title)}</h2>\n{body}\n</section>')
    return _PAGE.format(
        title=escape(document.title),
        subtitle=escape(document.subtitle),
        style=files(__package__).joinpath("style.css").read_text(encoding="utf-8"),
        links="\n".join(links),
        parts="\n".join(parts),
    )


def _anchors(titles: list[str]) -> list[str]:
    """A different name for each section."""
    anchors: list[str] = []
    for title in titles:
        anchor = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchors.append(f"{anchor}-{len(anchors)}" if anchor in anchors else anchor)
    return anchors


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Items(items, warning):
            kind = ' class="notes"' if warning else ""
            return f"<ul{kind}>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Table(grid, caption):
            return _table(grid, caption)
        case Picture():
            return _picture(block)
        case Listing(text):
            return f"<pre>{escape(text)}</pre>"
        case Fold(title, blocks):
            inside = "\n".join(_block(inner) for inner in blocks)
            return f"<details>\n<summary>{escape(title)}</summary>\n{inside}\n</details>"


def _table(grid: Grid, caption: str) -> str:
    longest = [max(map(len, column), default=0) for column in zip(*grid.rows, strict=True)]
    kinds = [
        ' class="n"' if index in grid.numeric else ' class="w"' if length > WIDE else ""
        for index, length in enumerate(longest or [0] * len(grid.heads))
    ]

    def cells(texts: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{kind}>{escape(text).replace('/', '/<wbr>')}</{tag}>"
            for kind, text in zip(kinds, texts, strict=True)
        )

    rows = []
    for index, row in enumerate(grid.rows):
        kind = ' class="strong"' if index in grid.strong else ""
        rows.append(f"<tr{kind}>{cells(row, 'td')}</tr>")
    body = "\n".join(rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="table"><table>{title}\n<thead><tr>{cells(grid.heads, "th")}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _picture(picture: Picture) -> str:
    data = picture.path.read_bytes()
    # Width and height come first in a PNG; the figures have twice the pixels they are shown with.
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    content, caption = base64.b64encode(data).decode("ascii"), escape(picture.caption)
    return (
        f'<figure><img loading="lazy" width="{round(width / 1.6)}" height="{round(height / 1.6)}" '
        f'alt="{caption}" src="data:image/png;base64,{content}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
