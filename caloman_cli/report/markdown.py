"""A report as Markdown; pictures are links to files beside it."""

from pathlib import Path
from urllib.parse import quote

from caloman_cli.report.document import Block, Document, Fold, Items, Listing, Picture, Table, Text


def to_markdown(document: Document, folder: Path) -> str:
    """Write a report for a file in ``folder``, which pictures lie below."""
    parts = [f"# {document.title}", document.subtitle]
    for part in document.parts:
        parts += [f"## {part.title}", *(_block(block, folder) for block in part.blocks)]
    return "\n\n".join(text for text in parts if text) + "\n"


def _block(block: Block, folder: Path) -> str:
    match block:
        case Text(text):
            return text
        case Items(items, warning=True):
            return "\n>\n".join(f"> {item}" for item in items)
        case Items(items):
            return "\n".join(f"- {item}" for item in items)
        case Table(grid, caption):
            return "\n\n".join(
                text for text in (caption and f"**{caption}**", grid.markdown()) if text
            )
        case Picture(path, caption):
            return f"![{caption}]({quote(path.relative_to(folder).as_posix())})"
        case Listing(text):
            return f"```\n{text.rstrip()}\n```"
        case Fold(title, blocks):
            return "\n\n".join([f"### {title}", *(_block(inner, folder) for inner in blocks)])
