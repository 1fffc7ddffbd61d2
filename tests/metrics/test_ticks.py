"""Ticks of logarithmic axes: enough to read a range, few enough to be read."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from caloman_cli.evaluation.components.separation.pages import histogram_pages
from caloman_cli.evaluation.style import figure, save
from caloman_cli.evaluation.ticks import log_ticks, tick_labels
from caloman_cli.metrics.histograms import Histogram


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (900, 110_000, [1e3, 1e4, 1e5]),
        (1e3, 2e4, [1e3, 3e3, 1e4]),
        (2e3, 2e4, [2e3, 5e3, 1e4, 2e4]),
        (2.5, 9.5, [3, 5, 7, 9]),
        (50, 56, [51, 52.5, 54, 55.5]),
    ],
)
def test_any_range_has_ticks(low, high, found):
    np.testing.assert_allclose(log_ticks(low, high), found)


def test_a_range_of_any_width_has_three_ticks_and_few():
    for width in np.geomspace(1.02, 90, 40):
        for low in np.geomspace(0.01, 0.1, 13):
            ticks = log_ticks(low, low * width)
            assert 3 <= len(ticks) <= 6, (low, width)
            assert all(low <= tick <= low * width for tick in ticks)


def test_labels_are_written_out_where_that_is_short():
    assert tick_labels([1e3, 3e3, 1e4]) == ["1000", "3000", "10000"]
    assert tick_labels([3e-3, 1e-2, 3e-2]) == ["0.003", "0.01", "0.03"]  # beside other panels
    assert tick_labels([3e5, 1e6]) == ["$3{\\times}10^{5}$", "$10^{6}$"]


def test_axes_and_colour_bars_are_labelled_as_they_are_saved(tmp_path):
    image = figure(4, 3, "constrained")
    ax = image.subplots()
    mesh = ax.pcolormesh([[1.0, 2.0]], norm=LogNorm(4, 80))
    bar = image.colorbar(mesh)
    ax.set_xscale("log")
    ax.set_xlim(1e3, 2e4)
    image.clear, clear = lambda: None, image.clear
    save(image, tmp_path / "x.png")
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["1000", "3000", "10000"]
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == ["5", "10", "20", "50"]
    clear()


@pytest.mark.parametrize("group", ["sparsity", "EC_eta"])
def test_no_axis_of_fractions_goes_beyond_one(group):
    edges, counts = np.linspace(0, 1, 5), np.asarray([0, 1, 98, 1, 0, 0])
    item = Histogram(f"{group}/1", edges, counts, counts)
    ((_, image, _),) = histogram_pages([item], None, "model")
    low, high = image.axes[0].get_ylim()
    assert 0.98 < high <= 1
    assert low < 0.01
