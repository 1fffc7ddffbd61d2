"""Tables: exact text of a small case, strict JSON, full precision."""

import csv
import io
import json
from dataclasses import replace

from caloman_cli.metrics.score import Score, score_grid, summary, to_csv, to_json, write_scores

SCORES = [
    Score("separation power", "E_ratio", 0.002, 0.001, 0.001, 0.001, summary=True,
          key="E_ratio", goal="lower"),
    Score("separation power", "E_layer/0", float("nan"), None, note="no entry in range",
          key="E_layer_0", goal="lower"),
    Score("classifier", "AUC low", 0.75, 0.5, spread=0.01, summary=True, key="auc_low",
          goal="half"),
]  # fmt: skip

MARKDOWN = """\
| metric           | quantity   |   generated |   generated/floor |   truth |   truth/floor |
|:-----------------|:-----------|------------:|------------------:|--------:|--------------:|
| separation power | E_ratio    |       0.002 |                 2 |   0.001 |             1 |
| classifier       | AUC low    | 0.75 ± 0.01 |                 – |     0.5 |             – |"""

LATEX = r"""\begin{tabular}{lrl}
\toprule
quantity & generated & note \\
\midrule
E\_ratio & \textbf{0.002} &  \\
\textbf{E\_layer/0} & \textbf{--} & \textbf{no entry in range} \\
\bottomrule
\end{tabular}
"""


def test_markdown_to_the_letter():
    assert summary(SCORES) == MARKDOWN


def test_latex_to_the_letter():
    grid = score_grid([replace(score, floor=None, truth=None) for score in SCORES[:2]])
    assert replace(grid, strong=frozenset([1])).latex({(0, 1)}) == LATEX


def test_nothing_to_summarise():
    assert summary(SCORES[1:2]) == ""


def test_small_numbers_are_not_rounded_away():
    score = Score("s", "q", 3.21e-7, key="q", goal="lower", summary=True)
    assert "3.21e-07 |" in summary([score])


def test_csv_keeps_full_precision_and_leaves_undefined_values_empty():
    scores = [Score("s", "a, b", 1 / 3, floor=0.0, key="a", goal="lower"), *SCORES[1:2]]
    first, second = csv.DictReader(io.StringIO(to_csv(scores)))
    assert first["quantity"] == "a, b"
    assert float(first["generated"]) == 1 / 3
    assert first["generated/floor"] == ""
    assert second["generated"] == ""


def test_json_has_null_and_never_nan():
    content = json.loads(to_json(SCORES, settings={"a": float("inf"), "b": (1, 2)}))
    assert content["scores"][1]["generated"] is None
    assert content["settings"] == {"a": None, "b": [1, 2]}
    assert content["scores"][0]["over_floor"] == 2


def test_files_replace_older_ones_and_leave_nothing_else(tmp_path):
    for _ in range(2):
        paths = write_scores(tmp_path, SCORES, [], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in paths)
