"""Tables: exact text of a small case, strict JSON, full precision."""

import csv
import io
import json

from caloman_cli.metrics.score import Score, summary, to_csv, to_json, to_markdown, write_tables

SCORES = [
    Score("separation power", "E_ratio", 0.002, 0.001, 0.001, 0.001, summary=True,
          key="E_ratio", goal="lower"),
    Score("separation power", "E_layer/0", float("nan"), None, note="no entry in range",
          key="E_layer_0", goal="lower"),
    Score("classifier", "AUC low", 0.75, 0.5, spread=0.01, summary=True, key="auc_low",
          goal="half"),
]  # fmt: skip

MARKDOWN = """\
# A model

- reference: 10 showers

> **Note.** Not Geant4.

## Summary

| metric           | quantity | generated | spread | generated/floor | truth | truth/floor |
| ---------------- | -------- | --------: | -----: | --------------: | ----: | ----------: |
| separation power | E_ratio  |     0.002 |      – |               2 | 0.001 |           1 |
| classifier       | AUC low  |      0.75 |   0.01 |               – |   0.5 |           – |

## Separation power

| quantity  | generated | generated/floor | truth | truth/floor | note              |
| --------- | --------: | --------------: | ----: | ----------: | ----------------- |
| E_ratio   |     0.002 |               2 | 0.001 |           1 |                   |
| E_layer/0 |         – |               – |     – |           – | no entry in range |

## Classifier

| quantity | generated | spread | truth |
| -------- | --------: | -----: | ----: |
| AUC low  |      0.75 |   0.01 |   0.5 |
"""


def test_markdown_to_the_letter():
    assert to_markdown("A model", SCORES, ["Not Geant4."], ["reference: 10 showers"]) == MARKDOWN


def test_nothing_to_summarise():
    assert summary(SCORES[1:2]) == ""


def test_small_numbers_are_not_rounded_away():
    assert "3.21e-07 |" in to_markdown("t", [Score("s", "q", 3.21e-7, key="q", goal="lower")])


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
        paths = write_tables(tmp_path, "t", SCORES, [], [], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in paths)
