"""Every option of a model is exported, or refused in one line, as the table of the page says."""

import re

import pytest

from tests.conftest import ROOT
from tests.export.cases import cases, outcome

pytest.importorskip("onnxruntime")
PAGE = (ROOT / "docs/howto/export.md").read_text()
REFUSED = set(re.findall(r"^\| `(\w+=\w+)`.*\| refused", PAGE, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_an_option_is_exported_or_refused_in_a_line(case, tmp_path):
    said = outcome(case, tmp_path)
    assert "\n" not in said
    assert (said != "onnx") == (case.name in REFUSED), said
    if case.name in REFUSED:
        assert "cannot be exported" in said or "has no form in ONNX" in said


def test_the_page_names_options_that_there_are():
    assert REFUSED
    assert {case.name for case in cases()} >= REFUSED
