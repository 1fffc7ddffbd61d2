"""The pages that the documentation consists of, and what stands in them."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
FROZEN = "> **A frozen page of the laboratory notebook**"
"""How a page begins that is kept as it was: its commands and paths are of its time."""


def pages() -> list[Path]:
    """README and its neighbours, and every page below ``docs``."""
    beside = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*beside, *sorted((ROOT / "docs").rglob("*.md"))]


def is_frozen(page: Path) -> bool:
    return FROZEN in page.read_text()


def text(page: Path) -> str:
    """What a page says of the present: of the changelog, the last version and what comes next."""
    whole = page.read_text()
    if page.name != "CHANGELOG.md":
        return whole
    return "\n## [".join(whole.split("\n## [")[:3])


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    fence = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    return fence.findall(text(page))


def spans(page: Path) -> list[str]:
    """Text of each piece of inline code, on one line."""
    prose = re.sub(r"^ *```.*?^ *```", "", text(page), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]


def commands(page: Path, program: str, inline: bool = True) -> list[str]:
    """Every command that calls a program, continued lines joined.

    Args:
        page: The page.
        program: ``caloman``, ``make``, ``python``.
        inline: Whether those within a sentence count, beside fenced ones.

    Returns:
        The text behind the program's name, up to what another program gets to do.
    """
    lines = [line for _, block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for line in (*lines, *(spans(page) if inline else ())):
        for part in re.split(r" (?:&&|\||>|;) ", line.strip().removeprefix("$ ")):
            words = part.split()
            while words and re.fullmatch(r"[A-Z_]+=\S*|taskset|-c|\d+|nohup", words[0]):
                words = words[1:]
            if words and words[0] == program:
                found.append(part[part.index(program) + len(program) :].strip())
    return found


def arguments(command: str) -> list[str]:
    """The words of a command, without its comment and the dots of what is left out."""
    return [word for word in shlex.split(command, comments=True) if word != "..."]


def write_shown_files(shown_by: Iterable[Path], folder: Path) -> None:
    """Write the blocks of pages that begin with a comment that is a file's name."""
    for page in shown_by:
        for _, block in blocks(page):
            named = re.match(r"(?:# @.*\n)?# (\S+\.(?:py|yaml))\n", block)
            if named is not None:
                path = folder / named[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block)
