"""The picture of a training: what its history says, and nothing where that says too little."""

import json

import numpy as np
import pytest

from caloman_cli.report.training import curves_of, training_curves, write_curves
from caloman_cli.runs.directory import RunDirectory


def rows(stage, train, validation):
    return [
        {"stage": stage, "epoch": n, "train/loss": a, "validation/loss": b}
        for n, (a, b) in enumerate(zip(train, validation, strict=True), 1)
    ]


def test_each_stage_has_a_panel_with_both_losses_and_the_best_epoch():
    history = rows("energy", [3, 2, 1], [4, 2.5, 3]) + rows("encoder", [9], [9])
    history += rows("density", [-1, -2], [None, -1.5])
    image = training_curves(history)
    energy, density = image.axes
    assert [ax.get_title(loc="left") for ax in image.axes] == ["energy", "density"]
    train, validation, best = energy.lines
    np.testing.assert_array_equal(train.get_ydata(), [3, 2, 1])
    np.testing.assert_array_equal(validation.get_ydata(), [4, 2.5, 3])
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 2.5)
    assert density.lines[-1].get_xdata()[0] == 2
    labels = [text.get_text() for text in image.legends[0].get_texts()]
    assert labels == ["training", "validation"]


def test_a_first_epoch_far_off_does_not_flatten_the_others():
    losses = [1e6, *np.linspace(5, 1, 39)]
    (ax,) = training_curves(rows("encoder", losses, losses)).axes
    assert ax.get_ylim()[1] < 10


def test_a_run_without_curves_has_no_picture_and_one_with_them_has(tmp_path):
    run = RunDirectory(tmp_path)
    write_curves(run)
    history = rows("energy", [3.0], [4.0])
    for _ in range(2):
        (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
        write_curves(run)
        assert (tmp_path / "training.png").is_file() == (len(history) > 1)
        history += rows("encoder", [3.0, 2.0], [4.0, 3.0])


@pytest.mark.parametrize(
    "rows",
    [
        b'{"epoch": 1, "train/loss": 2.0}\n\xdd\xff',
        2 * b'{"stage": "energy", "epoch": 1, "train/loss": "two"}\n',
        b"[1]\n",
    ],
)
def test_a_damaged_history_has_no_picture(tmp_path, caplog, rows):
    run = RunDirectory(tmp_path)
    run.history.path.write_bytes(rows)
    assert curves_of(run) is None
    assert "no picture of the training" in caplog.text
