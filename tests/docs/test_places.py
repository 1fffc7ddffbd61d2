"""Whatever a page names exists: files, modules, options of a group, headings behind links."""

import ast
import importlib
import re
import unicodedata
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import ROOT, blocks, is_frozen, name, pages, spans, text

PAGES = [page for page in pages() if not is_frozen(page)]
GROUPS = {folder.name for folder in (ROOT / "conf").iterdir() if folder.is_dir()}


def paths(words: str) -> list[str]:
    """Files and folders of the repository that a text names, ``{a,b}`` written out."""
    found = re.findall(
        r"(?<![\w/.<-])((?:docs|conf|scripts|caloman_cli|tests|\.ci)/[\w./*{},-]*)", words
    )
    written = []
    for path in found:
        parts = re.split(r"\{([^}]*)\}", path.rstrip(".,-"))
        choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
        written += ["".join(chosen) for chosen in product(*choices)]
    return written


def exists(path: str) -> bool:
    if re.fullmatch(r"(test_)?mine\b.*", Path(path).name):  # the reader's own
        return (ROOT / path).parent.is_dir()
    return any(ROOT.glob(path.rstrip("/"))) if "*" in path else (ROOT / path).exists()


def slug(heading: str) -> str:
    """A heading as the last part of a link, as forges write it."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading).strip().lower()
    kept = (c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {slug(heading) for heading in re.findall(r"^#+ +(.+)$", prose, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_named_exists(page):
    assert [path for path in paths(text(page)) if not exists(path)] == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_link_leads_somewhere(page):
    written = page.read_text()
    targets = re.findall(r"\]\(<?([^)\s>]+)>?\)", written) + re.findall(r'src="([^"]+)"', written)
    lost = []
    for target in targets:
        file, _, anchor = target.partition("#")
        if re.match(r"https?://", target):
            continue
        there = page.parent / file if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_module_named_can_be_imported(page):
    code = "\n".join(block for _, block in blocks(page))
    named = re.findall(r"\bcaloman_cli(?:\.\w+)+", "\n".join([*spans(page), code]))
    shown = _shown(page)
    own = {dotted for dotted in named if dotted.rpartition(".")[2] in shown}
    assert [d for d in dict.fromkeys(named) if d not in own and not _found(d)] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_code_imports_exists(page):
    for language, block in blocks(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("caloman_cli"):
                own = _shown(page) & {*str(node.module).split("."), *(a.name for a in node.names)}
                for alias in () if own else node.names:
                    assert _found(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_every_option_named_exists(page):
    missing = []
    for span in spans(page):
        for group, option in re.findall(r"(?:^|\s)(\w+)=([a-z]\w*)(?=$|\s)", span):
            known = group not in GROUPS or (ROOT / "conf" / group / f"{option}.yaml").exists()
            if not known and option not in ("mine", "auto"):
                missing.append(f"{group}={option}")
    assert missing == []


def _shown(page: Path) -> set[str]:
    """Names of the reader's own: the classes that a page shows, and the module they stand in."""
    code = "\n".join(block for _, block in blocks(page))
    return {"mine", *re.findall(r"^class (\w+)", code, re.MULTILINE)}


def _found(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: ModuleType | object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_notebook_pages_say_that_they_are_frozen():
    notebook = [page for page in pages() if page.parent.name == "notebook"]
    assert notebook
    assert all(is_frozen(page) for page in notebook)


def test_names_are_found_and_missed():
    assert paths("see `conf/{a,b}/*.yaml`, tests/x.py.") == [
        "conf/a/*.yaml",
        "conf/b/*.yaml",
        "tests/x.py",
    ]
    assert exists("conf/encoder/mine.yaml")
    assert not exists("conf/encoders/mine.yaml")
    assert not exists("conf/encoder/nothing*.yaml")
    assert slug("S and S / floor, `a_b`") == "s-and-s--floor-a_b"
    assert _found("caloman_cli.errors.UserError")
    assert not _found("caloman_cli.errors.Nothing")


@pytest.mark.parametrize("page", pages(), ids=name)
def test_no_page_has_the_marks_of_a_merge(page):
    lines = text(page).splitlines()
    assert [line for line in lines if re.match(r"(<{7}|>{7}|\|{7})( |$)", line)] == []
