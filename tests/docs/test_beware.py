"""The page on what goes wrong: its detector that is not symmetric is what the command says."""

import re
import runpy

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs/beware.md"


def test_the_shares_of_the_slices_are_those_of_the_check(caloman, tmp_path):
    (made,) = (text for language, text in blocks(PAGE) if language == "python")
    (tmp_path / "half.py").write_text(made)
    line = "data generate dataset=ds1_photons n=4000 seed=12 out=whole.hdf5"
    assert f"caloman {line}" in PAGE.read_text()
    assert caloman(*line.split()).status == 0
    runpy.run_path(str(tmp_path / "half.py"))
    assert "GeV" in caloman("data", "check", "gev.hdf5", "dataset=ds1_photons").out
    said = caloman("data", "check", "half.hdf5", "dataset=ds1_photons").out
    (row,) = (row for row in PAGE.read_text().splitlines() if row.startswith("| to learn from"))
    for layer, cell in zip((1, 2), row.split("|")[2:4], strict=True):
        (found,) = (
            text
            for text in said.splitlines()
            if text.startswith(f"  layer {layer} ") and "share" in text
        )
        for number in cell.replace("slices hold", "").replace("standard errors", "").split():
            assert number.strip(",") in found.replace(",", " ").split() or not number[0].isdigit()


def test_no_two_commands_make_one_file():
    made = re.findall(r"\bout(?:put)?=(\w+\.hdf5|few|turned)", PAGE.read_text())
    assert len(made) > 6
    assert len(set(made)) == len(made)
