"""The tutorial, line by line: half an hour as it stands, here with few showers and epochs."""

import json
import re

import pytest

from tests.docs.pages import ROOT, arguments, commands

PAGE = ROOT / "docs/tutorial.md"
EPOCHS = [f"trainer.{stage}.epochs=1" for stage in ("energy", "encoder", "density")]
LESS = {"train": EPOCHS, "evaluate": ["evaluation.separation.plots=none"]}


def typed() -> list[list[str]]:
    """What the reader types, each command a list of words, with little to do."""
    lines = []
    for command in commands(PAGE, "caloman", inline=False):
        words = arguments(re.sub(r"\bn=\d+", lambda n: f"n={int(n[0][2:]) // 20}", command))
        shown = {"--help", "--cfg"} & set(words)
        lines.append([*words, *([] if shown else LESS.get(words[0], []))])
    return lines


@pytest.mark.slow
def test_every_line_works_where_it_stands(caloman, tmp_path):
    tiny = ["encoder.hidden=[8,8]", "head.state=8", "density.hidden=8", "density.n_layers=1"]
    made = caloman("train", "experiment=demo", "dataset.limit=200", "output=outputs/demo",
                   *EPOCHS, *tiny)  # fmt: skip
    assert made.status == 0, made.err  # in the place of `make demo`
    lines = typed()
    for words in lines:
        result = caloman(*words)
        assert result.status == 0, f"{words}: {result.err}"
    verbs = {" ".join(words[:2]) if words[0] == "data" else words[0] for words in lines}
    assert verbs == {"sample", "data generate", "data check", "train", "evaluate", "report"}
    for run in ("mine", "mine_maf"):
        (scores,) = (tmp_path / f"outputs/{run}/evaluation").glob("*/metrics.json")
        assert json.loads(scores.read_text())["scores"]
    assert (tmp_path / "outputs/tutorial/submission.hdf5").is_file()
