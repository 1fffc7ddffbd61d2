"""Histograms of several runs over one reference."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from caloman_cli.config.figures import ReportLabels
from caloman_cli.evaluation.components.separation.overlay import COLOURS, overlay_pages
from caloman_cli.evaluation.counts import Counts, Response, Responses, write_counts
from caloman_cli.evaluation.style import TRUTH
from caloman_cli.metrics.histograms import Histogram
from caloman_cli.metrics.score import Score
from caloman_cli.report.comparison import compare_runs
from caloman_cli.report.found import Evaluation
from caloman_cli.report.overlays import overlay_of
from tests.cli.test_report_runs import no_pictures, report, scored, trained

__all__ = ["no_pictures"]


def response(*ratios):
    """Of twelve showers of one energy."""
    values = np.resize(ratios, 12)
    return Response(np.array([12]), np.array([values.sum()]), np.array([np.sum(values**2)]))


def kept(
    folder,
    energies,
    reference=(5, 20, 5),
    truth=((4, 22, 4),),
    edges=(0, 1, 2, 3),
    ratios=None,
    real=(1.0, 1.1),
):
    """The histograms of an evaluation: what was generated in three bins; and its response."""

    def histogram(counts, against=reference):
        padded = [np.asarray([0, *side, 0]) for side in (against, counts)]
        return Histogram("E_ratio", np.asarray(edges, float), *padded)

    others = tuple(histogram(counts) for counts in truth)
    curves = None
    if ratios is not None:
        sides = (response(*x) for x in (real, ratios, (1.0, 1.2)))
        curves = Responses(np.array([900.0, 1100.0]), *sides)
    counts = Counts("Geant4", (histogram(energies),), others, curves)
    write_counts(folder / "evaluation/quick", counts)


def drawn(tmp_path, caloman, *arguments):
    """Overlays that a report has, and its notes."""
    _, text = report(caloman, tmp_path, *arguments)
    pictures = sorted(path.name for path in (tmp_path / "out/plots").glob("overlay*"))
    return pictures, text.partition("## Histograms")[2]


def test_histograms_of_runs_are_drawn_over_one_reference(caloman, tmp_path):
    for name, auc in (("a", 0.6), ("b", 0.7)):
        scored(trained(tmp_path / "runs" / name), auc)
        kept(tmp_path / "runs" / name, (4, 20, 6))
    scored(trained(tmp_path / "runs/old"), 0.8)
    pictures, text = drawn(tmp_path, caloman)
    assert pictures == ["overlay_E_ratio.png"]
    assert "E_tot / E_inc: 2 runs over one reference" in text
    assert "Without histograms, or with other bins: old." in text
    assert drawn(tmp_path, caloman, "overlay=none") == ([], "")
    kept(tmp_path / "runs/b", (4, 20, 6), reference=(5, 20, 6))  # other bins or showers
    assert drawn(tmp_path, caloman)[0] == []


def test_responses_of_runs_are_drawn_over_one_reference(tmp_path):
    rows = []
    for number, ratios in enumerate(((1.0, 1.2), (0.9, 1.0), (1.1, 1.2))):
        folder = tmp_path / f"run{number}"
        (folder / "evaluation/quick").mkdir(parents=True)
        kept(folder, (number, 20, 6), ratios=ratios, real=(1.0, 1.0 if number == 2 else 1.1))
        rows.append(row(folder, 0.6 + number / 100))
    both = tuple((tmp_path / f"run{n}/evaluation/quick",) for n in (0, 1))
    rows.append(row(tmp_path / "seeds", 0.9, parts=both))
    found = overlay(rows)
    assert list(found.responses) == ["run0", "run1", "seeds"]  # run2 had other real showers
    *_, (stem, image, caption) = found.pages(False, ReportLabels(reference="beam"))
    assert stem == "overlay_response"
    assert caption == "Response and resolution: 3 runs over one reference"
    labels = [text.get_text() for text in image.legends[0].get_texts()]
    assert labels == ["beam", "independent beam", "run0", "run1", "seeds"]
    means = {line.get_color(): line.get_ydata()[0] for line in image.axes[0].lines}
    assert means[COLOURS[0]] == pytest.approx(1.1)
    assert means[COLOURS[1]] == pytest.approx(0.95)
    assert means[COLOURS[3]] == pytest.approx(1.025)  # the third is run2's
    *_, (_, image, _) = overlay(rows, band=False).pages(False, ReportLabels("beam"))
    labels = [text.get_text() for text in image.legends[0].get_texts()]
    assert labels == ["beam", "run0", "run1", "seeds"]


def overlay(rows, band=True):
    (item,) = compare_runs(rows)
    return overlay_of(item, band)


def row(folder, auc, truth=("t", 300), parts=None):
    score = Score("any", "AUC", auc, key="auc_high", goal="half", summary=True)
    parts = ((folder / "evaluation/quick",),) if parts is None else parts
    return Evaluation(
        folder, folder.name, "ds1", ("quick",), "r", "r.hdf5", "final", truth, (score,),
        parts=parts,
    )  # fmt: skip


def test_an_overlay_has_the_best_runs_and_the_truth_of_all(tmp_path):
    rows = []
    for number in range(8):
        folder = tmp_path / f"run{number}"
        (folder / "evaluation/quick").mkdir(parents=True)
        kept(folder, (number, 20, 6))
        rows.append(row(folder, 0.9 - number / 100))
    found = overlay(rows)
    assert list(found.runs) == [f"run{number}" for number in (7, 6, 5, 4, 3, 2)]
    np.testing.assert_array_equal(found.runs["run5"]["E_ratio"].generated_counts, [0, 5, 20, 6, 0])
    assert "The 6 best runs; 2 more are not drawn" in found.notes[0]
    assert list(found.truth) == ["E_ratio"]
    assert overlay(rows, band=False).truth == {}
    rows[-1] = row(tmp_path / "run7", 0.83, truth=("u", 300))
    assert overlay(rows).truth == {}  # judged beside other real showers
    both = tuple((tmp_path / f"run{n}/evaluation/quick",) for n in (1, 4))
    seeds = overlay([row(tmp_path / "run0", 0.6), row(tmp_path / "seeds", 0.5, parts=both)])
    np.testing.assert_array_equal(
        seeds.runs["seeds"]["E_ratio"].generated_counts, [0, 5, 40, 12, 0]
    )


def test_an_overlay_shows_what_was_counted(tmp_path):
    reference, edges = np.asarray([0, 10, 20, 10, 0]), np.arange(4.0)
    counts = {"a": [0, 10, 20, 10, 0], "b": [0, 5, 30, 5, 0]}
    runs = {
        name: {"sparsity/1": Histogram("sparsity/1", edges, reference, np.asarray(made))}
        for name, made in counts.items()
    }
    real = Histogram("sparsity/1", edges, np.asarray([0, 20, 20, 10, 0]), reference)
    ((stem, image, caption),) = overlay_pages(
        runs, {"sparsity/1": real}, "test beam", "second beam"
    )
    assert (stem, caption) == ("overlay_sparsity", "Sparsity: 2 runs over one reference")
    upper, lower = image.axes
    lines = {
        to_hex(patch.get_edgecolor()): patch.get_data()
        for patch in upper.patches
        if not patch.get_fill()
    }
    np.testing.assert_allclose(lines[COLOURS[0]].values, [0.25, 0.5, 0.25])
    np.testing.assert_allclose(lines[COLOURS[1]].values, [0.125, 0.75, 0.125])
    ratios = {to_hex(p.get_edgecolor()): p.get_data() for p in lower.patches if not p.get_fill()}
    np.testing.assert_allclose(ratios[COLOURS[1]].values, [0.5, 1.5, 0.5])
    (band,) = [p for p in lower.patches if p.get_fill() and to_hex(p.get_facecolor()) == TRUTH]
    values, base = band.get_data().values, band.get_data().baseline
    np.testing.assert_allclose((values + base) / 2, [0.625, 1.25, 1.25])  # shares over shares
    error = np.hypot(10**0.5 / 40, 0.625 * 20**0.5 / 50) / 0.4
    np.testing.assert_allclose((values - base)[0] / 2, error)
    labels = [text.get_text() for text in image.legends[0].get_texts()]
    assert labels == ["test beam", "second beam, ± 1 σ", "a", "b"]


def test_ratios_beyond_the_panel_have_arrows_of_their_runs():
    reference, edges = np.asarray([0, 10, 20, 10, 0]), np.arange(4.0)
    counts = {"a": [0, 1, 20, 19, 0], "b": [0, 20, 20, 0, 0]}
    runs = {
        name: {"E_ratio": Histogram("E_ratio", edges, reference, np.asarray(made))}
        for name, made in counts.items()
    }
    ((_, image, _),) = overlay_pages(runs, {}, "test beam", "second beam")
    _, lower = image.axes
    found = {
        (line.get_color(), line.get_marker()): list(line.get_xdata())
        for line in lower.lines
        if line.get_marker() in "^v"
    }
    assert found == {
        (COLOURS[0], "^"): [2.5], (COLOURS[0], "v"): [0.5],
        (COLOURS[1], "^"): [0.5], (COLOURS[1], "v"): [2.5],
    }  # fmt: skip
    low, high = lower.get_ylim()
    assert all(low < y < high for line in lower.lines for y in line.get_ydata())
