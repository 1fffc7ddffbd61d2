"""Names as long as a path: pictures have room for them, or for both of their ends."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from caloman_cli.evaluation.components.classifier.roc import roc_curves
from caloman_cli.evaluation.components.correlation import correlation_matrices
from caloman_cli.evaluation.components.equivalent.curves import NumberCurves, ks_figure
from caloman_cli.evaluation.components.layer_energies import layer_by_layer
from caloman_cli.evaluation.components.likelihood import _Table, likelihood_figure
from caloman_cli.evaluation.components.ood.pages import ood_figure
from caloman_cli.evaluation.components.ood.told import Told
from caloman_cli.evaluation.components.separation.averages import mean_showers, profile_pages
from caloman_cli.evaluation.components.separation.overlay import overlay_pages
from caloman_cli.evaluation.components.separation.pages import histogram_pages
from caloman_cli.evaluation.components.separation.showers import average_showers
from caloman_cli.evaluation.components.separation.single_showers import (
    shower_in_space,
    single_showers,
)
from caloman_cli.evaluation.names import elided, folded, legend_columns, legend_labels
from caloman_cli.evaluation.values import value_panels
from caloman_cli.metrics.correlation import CorrelationMatrix
from caloman_cli.metrics.equivalent import ALL, Equivalent
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.histograms import Histogram
from caloman_cli.metrics.ks_curve import Crossing, Curve
from caloman_cli.metrics.layer_energies import LayerDifference
from caloman_cli.metrics.score import Score
from tests.metrics.test_shower_pictures import drawn, ringed
from tests.pictures import LONG, boxes, collisions, cut

SHORT = ("beam", "model")


def test_a_long_name_keeps_both_ends():
    assert elided("demo") == "demo"
    assert elided("abcdefgh", 8) == "abcdefgh"
    assert elided("abcdefghi", 8) == "abc…fghi"
    assert all(len(elided(LONG[1], most)) == most for most in range(8, 50))


def test_a_name_is_folded_between_words_or_elided():
    assert folded("test beam of June", 10) == "test beam\nof June"
    lines = folded(LONG[1], 19).split("\n")
    assert len(lines) == 2 and max(map(len, lines)) <= 19
    assert lines[0][:3] == LONG[1][:3] and lines[1][-3:] == LONG[1][-3:]


def test_a_legend_has_as_many_columns_as_have_room():
    assert legend_columns(["a"] * 3, 3.0) == 3
    assert legend_columns(["a" * 30, "b", "c", "d"], 4.2) == 2
    assert legend_columns(["a" * 60], 1.0) == 1
    (short,) = legend_labels(["a" * 60], 3.0)
    assert len(short) < 40


def histogram(name):
    return Histogram(name, np.linspace(0.1, 4, 5), *np.full((2, 6), 9))


def showers(labels):
    geometry = ringed()
    both = (drawn(geometry, 40, seed) for seed in (0, 1))
    return single_showers(*both, labels)


def space(labels):
    geometry = ringed()
    return shower_in_space(*(drawn(geometry, 40, seed) for seed in (0, 1)), labels)


def lone(labels):
    """A detector of a single layer is narrower than the title."""
    geometry = ringed(layers=1)
    return single_showers(*(drawn(geometry, 40, seed) for seed in (0, 1)), labels)


def averages(labels):
    geometry = ringed()
    means = (mean_showers(drawn(geometry, 9, n), np.array([1.0, 1e5])).every for n in (0, 1))
    ((_, image, _),) = average_showers(geometry, *means, labels)
    return image


def profile(labels):
    sides = [high_level_features(drawn(ringed(), 40, seed)) for seed in range(3)]
    names = [*labels, f"independent {labels[0]}"]
    ((_, image, _),) = profile_pages(list(zip(names, sides, strict=True)))
    return image


def page(labels):
    item = histogram("E_ratio")
    independent = f"independent {labels[0]}"
    ((_, image, _),) = histogram_pages([item], [item], labels[1], labels[0], independent)
    return image


def overlay(labels):
    runs = {f"{labels[1]}{n}": {"voxel": histogram("voxel")} for n in range(2)}
    ((_, image, _),) = overlay_pages(runs, runs[f"{labels[1]}0"], *labels)
    return image


def roc(labels):
    rates = np.linspace(0, 1, 9)
    curve = {"fpr": rates, "tpr": rates, "tpr_std": None}
    modes = ("low", "high", "trees")
    names = labels[1], f"independent {labels[0]}"
    return roc_curves(
        dict.fromkeys(modes, (curve, curve)), dict.fromkeys(modes, (0.5, 0.5)), names
    )


def worth(labels):
    curve = Curve(np.array([10, 100]), {ALL: np.array([0.3, 0.1])}, None, 600)
    meet, found = {ALL: Crossing(90.0, "", None)}, Equivalent(0.1, 0.01, 1e-3, 0.02)
    return ks_figure(NumberCurves(curve, curve, meet), found, 3000, labels)


def correlation(labels):
    matrix = CorrelationMatrix((0, 1), np.eye(2), ())
    return correlation_matrices(matrix, matrix, labels)


def layers(labels):
    sides = [high_level_features(drawn(ringed(), 40, seed)) for seed in (0, 1)]
    image = layer_by_layer(sides, LayerDifference({}, np.ones(2), np.full(2, 0.9)), labels)
    low, high = image.axes[1].get_ylim()  # distances that hardly vary are not on the edge
    assert low == 0 and high > 1.03
    return image


def values(labels):
    scores = [Score("any", "FPD", 1.0, 0.9, key="fpd", goal="lower")]
    return value_panels(scores, labels)


def likelihood(labels):
    rng, draws = np.random.default_rng(0), [1, 2, 4, 8, 16, 32, 64, 128]
    energies = np.geomspace(1e3, 1e6, 9)
    table = _Table(draws, np.zeros(9), rng.random((9, 8)), *np.full((2, 9), 50.0), energies)
    image = likelihood_figure(table, labels)
    words = [text for text, _ in boxes(image)]
    assert {"128", "32", "8"} <= set(words) and "1.5" not in words
    return image


def out_of_distribution(labels):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(100, 3))
    values[:6, 0] = 1000 * rng.normal(size=6)  # a long tail leaves the others their room
    told = Told(values, np.ones(100), values)
    names = ("energy", "dead_layer", "hot_layer", "rolled", "swapped")
    image = ood_figure(told, dict.fromkeys(names, told), np.zeros(2), labels)
    low, high = image.axes[0].get_xlim()
    assert -30 < low < -3 < 3 < high < 30
    return image


PICTURES = (
    showers, space, lone, averages, profile, page, overlay, roc, correlation, layers, values,
    worth, likelihood, out_of_distribution,
)  # fmt: skip


@pytest.mark.parametrize("labels", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.__name__)
def test_no_word_is_cut_or_lies_on_another(picture, labels):
    image: Figure = picture(labels)
    assert cut(image) == []
    assert collisions(image) == []


def test_cut_words_and_collisions_are_noticed():
    image = page(SHORT)
    image.text(0.99, 0.5, "a word too many")
    image.text(0.5, 0.5, "one"), image.text(0.5, 0.5, "two")
    assert cut(image) == ["a word too many"]
    assert ("one", "two") in collisions(image)
