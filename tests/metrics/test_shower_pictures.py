"""Average showers at fixed energies, showers in space, response and resolution."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.separation.averages import (
    average_showers_at_energies,
    mean_showers,
    profile_pages,
)
from caloman_cli.evaluation.components.separation.response import (
    REFERENCE_LOOK,
    energy_edges,
    response_curve,
    response_of,
    run_look,
)
from caloman_cli.evaluation.components.separation.single_showers import shower_in_space
from caloman_cli.evaluation.components.separation.space import (
    BRIGHTEST,
    contained_radius,
    voxel_pieces,
)
from caloman_cli.evaluation.counts import Counts, Responses, read_counts, write_counts
from caloman_cli.evaluation.style import GENERATED, REFERENCE, save
from caloman_cli.metrics.features import high_level_features
from tests.conftest import load_geometry


def ringed(energies=(1e3, 1e4), layers=2) -> Geometry:
    return Geometry.from_dict(
        {
            "name": "ringed", "particle": "photon", "threshold": 0.5, "max_response": 5.0,
            "layers": [
                {"id": 3 * i, "r_edges": [0, 5, 10, 30], "n_alpha": 1 + 3 * (i > 0)}
                for i in range(layers)
            ],
            "incident_energies": list(energies), "incident_weights": [1.0] * len(energies),
            "incident_range": None,
        }
    )  # fmt: skip


def drawn(geometry: Geometry, n: int, seed: int, energies=(1e3, 1e4)) -> Showers:
    rng = np.random.default_rng(seed)
    e_inc = np.resize(energies, n)
    voxels = rng.random((n, geometry.n_voxels)) * e_inc[:, None] / geometry.n_voxels
    return Showers.from_arrays(e_inc, voxels.astype(np.float32), geometry)


def test_means_are_of_parts_of_the_energies_after_the_cut(tiny_geometry):
    voxels = np.full((3, 12), 0.05, np.float32)
    voxels[:, 3] = 8, 2, 5
    showers = Showers.from_arrays(np.array([1e3, 2e3, 9e3]), voxels, tiny_geometry)
    found = mean_showers(showers, np.array([1e3, 1500.0, 3000.0]))
    there = np.arange(12) == 3
    np.testing.assert_array_equal(found.every, 5.0 * there)
    np.testing.assert_array_equal(found.at, [8.0 * there, 2.0 * there])  # none has 9 GeV
    np.testing.assert_array_equal(found.n, [1, 1])


def test_a_profile_is_the_mean_share_of_each_layer_at_each_energy():
    geometry = ringed()
    sides = [high_level_features(drawn(geometry, 40, seed)) for seed in (0, 1)]
    ((stem, image, _),) = profile_pages([("beam", sides[0]), ("model", sides[1])])
    assert stem == "profile_at_energies"
    uppers = [ax for ax in image.axes if ax.get_title("left")]
    assert [ax.get_title("left") for ax in uppers] == ["1 GeV", "10 GeV"]
    assert [text.get_text() for text in image.legends[0].get_texts()] == ["beam", "model"]
    for ax, energy in zip(uppers, (1e3, 1e4), strict=True):
        for features, colour in zip(sides, (REFERENCE, GENERATED), strict=True):
            (steps,) = (
                p for p in ax.patches
                if to_hex(p.get_facecolor() if p.get_fill() else p.get_edgecolor()) == colour
            )  # fmt: skip
            inside = features.e_inc == energy
            shares = (features.group("E_layer") / features.e_inc[:, None])[inside].mean(0)
            np.testing.assert_allclose(steps.get_data().values, shares)
    few = [(label, high_level_features(drawn(geometry, 12, 2))) for label in ("beam", "model")]
    assert list(profile_pages(few)) == []  # six of each energy say nothing


def test_average_showers_need_two_energies_that_both_sides_have():
    geometry = ringed()
    edges = energy_edges(geometry, np.array([1e3, 1e4]))
    both, one = (
        mean_showers(drawn(geometry, 40, 0, energies), edges) for energies in ((1e3, 1e4), (1e3,))
    )
    image = average_showers_at_energies(geometry, edges, both, both, ("beam", "model"))
    words = [text.get_text() for text in image.texts]
    assert words[1:] == [
        f"{label}\n{energy} GeV\n20 showers" for energy in (1, 10) for label in ("beam", "model")
    ]
    assert average_showers_at_energies(geometry, edges, both, one, ("beam", "model")) is None


def test_a_piece_in_space_is_where_its_voxel_is():
    geometry = ringed()
    voxels = np.zeros(geometry.n_voxels)
    voxels[0], voxels[3 + 3 * 2 + 1] = 7.0, 2.0  # the core; slice 2, ring 1 of the second layer
    assert contained_radius(geometry, voxels) == 10
    pieces, energies = voxel_pieces(geometry, voxels, 10.0)
    np.testing.assert_array_equal(energies, [7, 2])
    core, outer = pieces
    assert (core[:, 0] == 0).all()
    assert np.hypot(*core[:, 1:].T).max() == pytest.approx(5)
    radii, angles = np.hypot(*outer[:, 1:].T), np.arctan2(outer[:, 2], outer[:, 1])
    assert (outer[:, 0] == 1).all()
    assert (radii.min(), radii.max()) == pytest.approx((5, 10))
    assert (angles.min(), angles.max()) == pytest.approx((0, np.pi / 2), abs=1e-9)
    voxels[2] = 0.01  # beyond the radius that is drawn
    assert len(voxel_pieces(geometry, voxels, 10.0)[0]) == 2


def test_a_shower_of_many_voxels_is_drawn_of_the_brightest():
    geometry = load_geometry("ds3")
    voxels = np.random.default_rng(0).permutation(geometry.n_voxels) + 1.0
    energies = voxel_pieces(geometry, voxels, 100.0)[1]
    assert len(energies) == BRIGHTEST
    assert energies.min() == geometry.n_voxels - BRIGHTEST + 1


@pytest.mark.parametrize("layers", [1, 5, 45])
def test_a_real_and_a_generated_shower_of_like_energy_stand_side_by_side(layers, tmp_path):
    geometry = ringed(layers=layers)
    reference, generated = drawn(geometry, 9, 0, (1e4,)), drawn(geometry, 9, 1, (1e3, 9e3))
    image = shower_in_space(reference, generated, ("beam", "model"))
    titles = [ax.get_title() for ax in image.axes[:2]]
    assert [title.split(",")[0] for title in titles] == ["beam\n10 GeV", "model\n9 GeV"]
    for place, ax in enumerate(image.axes[:2]):
        image.canvas.draw()
        drawn_in = ax.bbox if any(artist.get_clip_on() for artist in ax.collections) else None
        for artist in ax.collections:
            corners = np.concatenate([path.vertices for path in artist.get_paths()])
            x, y = ax.transData.transform(corners).T
            low, high = (place * 0.46 * image.bbox.width, (place + 1) * 0.46 * image.bbox.width)
            assert low < x.min() < x.max() < high
            assert image.bbox.y0 < y.min() < y.max() < image.bbox.y1
            assert drawn_in is None or drawn_in.x0 <= x.min() < x.max() <= drawn_in.x1
    assert save(image, tmp_path / "space.png").stat().st_size > 10_000


def test_responses_are_means_and_spreads_and_can_be_added(tmp_path):
    geometry = ringed()
    edges = energy_edges(geometry, np.array([1e3, 1e4]))
    sides = [high_level_features(drawn(geometry, n, seed)) for n, seed in ((40, 0), (60, 1))]
    one, two = (response_of(features, edges) for features in sides)
    samples = [("beam", one, REFERENCE_LOOK), ("models", one + two, run_look())]
    image = response_curve(edges, samples)
    ratios = np.concatenate([features["E_tot"] / features.e_inc for features in sides])
    at = np.concatenate([features.e_inc for features in sides])
    mean, spread = (ax.lines[1] for ax in image.axes[:2])
    means = [ratios[at == energy].mean() for energy in (1e3, 1e4)]
    np.testing.assert_allclose(mean.get_ydata(), means)
    wanted = [ratios[at == energy].std(ddof=1) for energy in (1e3, 1e4)]
    np.testing.assert_allclose(spread.get_ydata(), np.divide(wanted, means), rtol=1e-6)
    write_counts(tmp_path, Counts("beam", (), (), Responses(edges, one, two)))
    kept = read_counts(tmp_path).responses
    np.testing.assert_array_equal(kept.edges, edges)
    np.testing.assert_array_equal(kept.generated.squares, two.squares)
    assert kept.truth is None
    write_counts(tmp_path, Counts("beam", ()))
    assert read_counts(tmp_path).responses is None
