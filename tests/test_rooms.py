"""Rooms import downwards only, and the package's root holds no loose modules."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "caloman_cli"
STORIES = (
    {"errors"},
    {"config"},
    {"data"},
    {"models", "metrics"},
    {"runs", "published", "loggers"},
    {"evaluation", "export", "training"},
    {"report"},
    {"verbs", "api"},
    {"cli"},
)
"""From the ground up: a room imports from those below it, never from its neighbours."""
STORY = {room: number for number, rooms in enumerate(STORIES) for room in rooms}
ROOT = {"__init__.py", "__main__.py", "errors.py"}


def imported(tree: ast.AST) -> set[str]:
    """Modules of the package that a module names in its imports, lazy ones too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("caloman_cli.")}


def upwards(module: str, source: str) -> list[str]:
    """Imports of a module that do not point downwards."""
    room = module.split(".")[1]
    wrong = []
    for name in sorted(imported(ast.parse(source))):
        other = name.split(".")[1]
        if other in STORY and other != room and STORY[other] >= STORY[room]:
            wrong.append(f"{module} imports {name}")
    return wrong


def test_rooms_import_downwards_only():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("caloman_cli", *path.relative_to(PACKAGE).with_suffix("").parts))
        if path.name not in ROOT or path.parent != PACKAGE:
            wrong += upwards(module, path.read_text(encoding="utf-8"))
    assert not wrong


def test_every_room_has_its_story():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms | {"errors"} == set(STORY)


def test_the_root_holds_three_modules():
    assert {path.name for path in PACKAGE.glob("*.py")} == ROOT


@pytest.mark.parametrize(
    "module, source",
    [
        ("caloman_cli.metrics.separation", "from caloman_cli.evaluation import truth"),
        ("caloman_cli.models.noise", "def late():\n    import caloman_cli.metrics.frechet"),
        ("caloman_cli.evaluation.inputs", "from caloman_cli.verbs.sample import run"),
    ],
)
def test_an_import_upwards_or_sideways_is_found(module, source):
    assert upwards(module, source)


def knowing(text: str) -> set[str]:
    """The folders whose modules import a package."""
    return {
        path.parent.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if f"from {text}" in path.read_text(encoding="utf-8")
    }


def test_nflows_is_wrapped_in_one_room():
    assert knowing("nflows") == {"models/nn"}


def exists(name: str) -> bool:
    """Whether a dotted name is a module of the package, or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def test_what_docstrings_point_to_exists():
    lost = {
        (path.name, name)
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(
            r":(?:class|func|mod|meth|data|attr):`~?(caloman_cli[\w.]*)`",
            path.read_text(encoding="utf-8"),
        )
        if not exists(name)
    }
    assert not lost


def test_metrics_are_numbers_of_showers_and_nothing_else():
    """No figures, no clock, nothing kept on the disk but what the data's room maps."""
    for path in (PACKAGE / "metrics").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        others = {name.split(".")[1] for name in imported(tree)}
        assert others <= {"metrics", "data", "config", "errors"}, path.name
        top = {
            (alias.name if isinstance(node, ast.Import) else str(node.module)).split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not top & {"matplotlib", "time", "tempfile", "shutil", "pickle"}, path.name


def test_a_metric_and_its_component_have_names_of_their_own():
    metrics, components = (
        {
            node.name
            for path in (PACKAGE / room).rglob("*.py")
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef)
        }
        for room in ("metrics", "evaluation/components")
    )
    assert not metrics & components
