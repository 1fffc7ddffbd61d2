"""Scores as a picture: the model beside independent real showers."""

import numpy as np

from caloman_cli.evaluation.values import value_panels
from caloman_cli.metrics.score import Score


def score(key, generated, truth=None, quantity=None, **more):
    return Score("any", quantity or key, generated, truth, key=key, goal="lower", **more)


def test_each_number_stands_beside_the_truths_at_the_same_number_of_showers():
    rows = [
        score("kd", 0.5, 0.1, "kernel distance", spread=0.1, truth_spread=0.05, floor=0.2),
        score("fd", 3.0, None, "Fréchet distance"),
        score("fd_equal_n", 4.0, 1.0, "Fréchet distance, 100 against 120"),
        score("lost", None),
    ]
    image = value_panels(rows, ("model", "other runs"))
    assert [ax.get_title("left") for ax in image.axes] == ["kernel distance", "Fréchet distance"]
    shown = [{float(x) for line in ax.lines for x in line.get_xdata()} for ax in image.axes]
    assert {0.5, 0.1, 0.2} <= shown[0]
    assert shown[1] == {4.0, 1.0}
    legend = [text.get_text() for text in image.legends[0].get_texts()]
    assert legend == ["model", "other runs"]


def test_each_side_has_the_floor_of_its_number_of_showers():
    rows = [score("ks", 0.5, 0.1, floor=0.2, truth_floor=0.3)]
    (ax,) = value_panels(rows, ("model", "truth")).axes
    floors = {
        tuple(line.get_xdata()): line.get_ydata()
        for line in ax.lines
        if line.get_linestyle() == ":"
    }
    assert set(floors) == {(0.2, 0.2), (0.3, 0.3)}
    (model,), (truth,) = (
        [np.mean(line.get_ydata()) for line in ax.lines if value in line.get_xdata()]
        for value in (0.5, 0.1)
    )
    assert np.mean(floors[0.2, 0.2]) == model
    assert np.mean(floors[0.3, 0.3]) == truth


def test_without_values_there_is_no_picture_and_without_truth_no_truth():
    assert value_panels([score("lost", None)], ("model", "truth")) is None
    image = value_panels([score("kd", 0.5)], ("model", "truth"))
    assert [text.get_text() for text in image.legends[0].get_texts()] == ["model"]
