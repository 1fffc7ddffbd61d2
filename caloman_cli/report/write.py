"""Reports on the disk."""

from pathlib import Path

from caloman_cli.data.files import write_text
from caloman_cli.report.document import Document
from caloman_cli.report.html import to_html
from caloman_cli.report.markdown import to_markdown


def write_report(folder: Path, document: Document) -> list[Path]:
    """Write ``report.html`` and ``report.md``, each atomically.

    Args:
        folder: Existing directory; pictures lie below it.
        document: The report.

    Returns:
        The two paths.
    """
    texts = {"report.html": to_html(document), "report.md": to_markdown(document, folder)}
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
