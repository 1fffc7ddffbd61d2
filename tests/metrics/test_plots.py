"""Figures are written, cover every group, and leave matplotlib's settings alone."""

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.separation.averages import mean_showers
from caloman_cli.evaluation.components.separation.pages import energy_label, histogram_pages
from caloman_cli.evaluation.components.separation.response import (
    REFERENCE_LOOK,
    energy_edges,
    ratios_in_energy_bins,
    response_curve,
    response_of,
    run_look,
)
from caloman_cli.evaluation.components.separation.showers import average_showers
from caloman_cli.evaluation.components.timing import timing_curve
from caloman_cli.evaluation.style import save
from caloman_cli.evaluation.timing_points import TimingPoint
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.histograms import GROUPS, Histogram
from caloman_cli.metrics.separation import separation_histograms
from tests.conftest import load_geometry


def toy(geometry, n, seed):
    rng = np.random.default_rng(seed)
    if geometry.incident_energies is None:
        energies = np.geomspace(*geometry.incident_range, n)
    else:
        energies = rng.choice(geometry.incident_energies, n)
    shares = rng.random((n, geometry.n_voxels)) * (rng.random((n, geometry.n_voxels)) < 0.5)
    voxels = shares * energies[:, None] * 4 / geometry.n_voxels
    return Showers.from_arrays(energies, voxels.astype(np.float32), geometry)


def small(geometry: Geometry, layers: int) -> Geometry:
    facts = geometry.to_dict()
    facts["layers"] = facts["layers"][:layers]
    if facts["incident_energies"] is not None:
        facts["incident_energies"] = facts["incident_energies"][:3]
        facts["incident_weights"] = facts["incident_weights"][:3]
    return Geometry.from_dict(facts)


@pytest.mark.parametrize(
    ("name", "layers"), [pytest.param("ds1_photons", 2, marks=pytest.mark.slow), ("ds2", 1)]
)
def test_every_group_has_a_figure(name, layers, tmp_path):
    geometry = small(load_geometry(name), layers)
    reference, generated = toy(geometry, 110, 0), toy(geometry, 100, 1)
    histograms = separation_histograms(reference, generated)
    features = [high_level_features(showers) for showers in (reference, generated)]
    if geometry.incident_energies is None:
        histograms += ratios_in_energy_bins(*features)
    before = dict(mpl.rcParams)
    figures = list(histogram_pages(histograms, histograms, "model", everything=False))
    edges = energy_edges(geometry, features[0].e_inc)
    samples = zip(("Geant4", "model"), features, (REFERENCE_LOOK, run_look()), strict=True)
    curves = response_curve(edges, [(x, response_of(y, edges), look) for x, y, look in samples])
    figures.append(("response", curves, "Response"))
    means = (mean_showers(showers, edges).every for showers in (reference, generated))
    figures += average_showers(geometry, *means)
    assert dict(mpl.rcParams) == before
    assert {stem for stem, _, _ in figures} == {*GROUPS, "response", "average_shower"}
    for stem, image, _ in figures[:2] + figures[-1:]:
        path = save(image, tmp_path / f"{stem}.png")
        pixels = matplotlib.image.imread(path)
        assert pixels.std() > 0.05
    assert len(list(tmp_path.iterdir())) == 3


def test_many_layers_are_paged_or_thinned():
    geometry, n = load_geometry("ds2"), 45
    edges, counts = np.linspace(0, 1, 21), np.ones(22, np.int64)
    histograms = [Histogram(f"sparsity/{i}", edges, counts, counts) for i in range(n)]
    thinned = list(histogram_pages(histograms, None, "model", everything=False))
    assert [(stem, caption) for stem, _, caption in thinned] == [("sparsity", "Sparsity")]
    paged = list(histogram_pages(histograms[:20], None, "model"))
    assert [(stem, caption) for stem, _, caption in paged] == [
        (f"sparsity_{number}", f"Sparsity, page {number}") for number in (1, 2, 3)
    ]
    means = np.ones(geometry.n_voxels)
    assert len(list(average_showers(geometry, means, means, everything=False))) == 1


def test_nothing_in_range_is_drawn_as_such(tmp_path):
    empty, edges = np.array([3, 0, 0, 4]), np.array([0.0, 1.0, 2.0])
    ((_, image, _),) = histogram_pages([Histogram("E_ratio", edges, empty, empty)], None, "model")
    assert save(image, tmp_path / "x.png").stat().st_size > 0


def test_independent_showers_lie_in_the_panel_where_they_are_wider_and_higher():
    edges = np.arange(6.0)
    item = Histogram("E_ratio", edges, *np.array([[0, 0, 30, 40, 30, 0, 0]] * 2))
    truth = Histogram("E_ratio", edges, item.reference_counts, np.array([0, 9, 1, 90, 0, 0, 0]))
    ((_, image, _),) = histogram_pages([item], [truth], "model")
    (low, high), (_, top) = image.axes[0].get_xlim(), image.axes[0].get_ylim()
    assert low < 0 < 4 < high < 5  # the last bin is nobody's
    assert top > 0.9


def test_energy_edges_lie_between_discrete_energies(geometry):
    energies = np.asarray(geometry.incident_energies or np.geomspace(1e3, 1e6, 50))
    edges = energy_edges(geometry, energies)
    counts = np.histogram(energies, edges)[0]
    assert counts.sum() == len(energies)
    if geometry.incident_energies is not None:
        assert (counts == 1).all()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("256", "256 MeV"),
        ("262144", "262 GeV"),
        ("4194304", "4.19 TeV"),
        ("1000–3162", "1–3.16 GeV"),
    ],
)
def test_energies_as_a_reader_says_them(where, said):
    assert energy_label(where) == said


def test_timing_curve_shows_what_could_not_be_measured(tmp_path):
    points = [
        TimingPoint("generation", 1, 1, 3, 2.0, 1.9, 2.2),
        TimingPoint("generation", 100, 100, 1, 0.2),
        TimingPoint("generation", 1000, 1000, status="out of memory"),
        TimingPoint("end to end", 1, 1, 3, 3.0, 2.9, 3.2),
        TimingPoint("end to end", 100, 100, status="too slow"),
        TimingPoint("end to end", 1000, 1000, status="too slow"),
    ]
    where = {"device_name": "CPU", "threads": 1, "dtype": "float32"}
    image = timing_curve(points, where)
    (ax,) = image.axes
    assert ax.get_title() == "CPU, 1 thread, float32"
    missing = {(text.xy[0], text.get_text()) for text in ax.texts}
    assert missing == {
        (1000, "generation: out of memory"), (100, "end to end: too slow"),
        (1000, "end to end: too slow"),
    }  # fmt: skip
    image.canvas.draw()
    floor = min(text.get_window_extent().y0 for text in ax.texts)
    highest = ax.transData.transform((1, 3.2))[1]
    assert floor > highest  # nothing crosses a curve
    assert all(len(line.get_xdata()) != 2 or line.get_xdata()[0] != 100 for line in ax.lines)
    assert save(image, tmp_path / "timing.png").stat().st_size > 0
