"""Every ``caloman`` command in the documentation composes and passes the check."""

import re
import shlex
from pathlib import Path

import pytest

from caloman_cli.cli.hydra_app import Application
from caloman_cli.cli.main import find_verb
from caloman_cli.errors import UserError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """The lines of code blocks that begin with ``caloman``, continued lines joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.lstrip("$ ") for line in lines if line.lstrip("$ ").startswith("caloman ")]


def shown_answer(page: str, command: str) -> str | None:
    """The line below a command that shows a mistake on purpose, up to where it is cut short."""
    page_text = next(path for path in PAGES if path.name == page).read_text()
    below = page_text.partition(command + "\n")[2].partition("\n")[0]
    return below.partition("...")[0] if below.startswith("caloman: ") else None


DOCUMENTED = [
    (page.name, command) for page in PAGES if page.exists() for command in commands(page)
]


@pytest.mark.parametrize(("page", "command"), DOCUMENTED)
def test_documented_commands_compose(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    groups = ("encoder", "density", "head", "energy", "preprocess", "calibration")
    for group in groups if "--config-dir" in command else ():
        folder = tmp_path / "mine" / group
        folder.mkdir(parents=True)
        source = next((ROOT / "conf" / group).glob("*.yaml"))
        (folder / "mine.yaml").write_text(source.read_text())
    words = shlex.split(command, comments=True)[1:]
    words = re.split(r" (?:&&|\||>|;) ?", shlex.join(words))[0] if words else ""
    arguments = shlex.split(words)
    if any(argument.isupper() or "VERB" in argument for argument in arguments):
        pytest.skip("a pattern, not a command")
    if {"--help", "--version", "-sc"} & set(arguments):
        return
    verb, rest = find_verb(arguments)
    assert verb is not None
    kept, skip = [], False
    for argument in rest:
        if argument in ("--cfg", "--package", "--info", "-p", "-c") or skip:
            skip = not skip
            continue
        kept.append(argument)
    answer = shown_answer(page, command)
    if answer is None:
        Application(verb).check(kept)
        return
    with pytest.raises(UserError) as raised:
        Application(verb).check(kept)
    assert f"caloman: {raised.value}".startswith(answer)
