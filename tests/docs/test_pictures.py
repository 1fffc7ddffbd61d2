"""The list of pictures names every file that evaluations draw."""

import re

from tests.docs.pages import ROOT


def test_the_list_of_pictures_is_complete():
    text = (ROOT / "docs/howto/compare_files.md").read_text()
    table = text.partition("## The pictures")[2].partition("\n## ")[0]
    listed = {
        name for line in table.splitlines() if line.startswith("| ")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }  # fmt: skip
    drawn = set()
    for path in (ROOT / "caloman_cli/evaluation").rglob("*.py"):
        source = path.read_text()
        drawn |= set(re.findall(r'comparison\.draw\(\s*"(\w+)"', source))
        drawn |= set(re.findall(r'draw_values\(comparison, "(\w+)"', source))
        drawn |= set(re.findall(r'yield "(\w+)", ', source))
        drawn |= set(re.findall(r'numbered\("(\w+)"', source))
    assert {"memorisation", "quality", "response", "average_shower"} <= drawn
    assert drawn <= listed
