"""What is corrected of showers after they are drawn."""

import pytest
import torch

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.calibrations.base import Unchanged
from caloman_cli.models.calibrations.voxel_spectrum import VoxelSpectrum
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import build, load_model, save_model
from tests.models.test_model import config, prepared, showers

CUT = 0.5
FEW, MANY = slice(0, 4), slice(4, 44)


def detector(threshold=CUT):
    """A layer of four voxels, which a calibration leaves alone, and one of forty."""
    radii = [float(edge) for edge in range(11)]
    return Geometry.from_dict(
        {
            "name": "two_layers",
            "particle": "photon",
            "threshold": threshold,
            "max_response": 3.0,
            "incident_energies": None,
            "incident_weights": None,
            "incident_range": [1e3, 1e5],
            "layers": [
                {"id": 0, "r_edges": radii[:5], "n_alpha": 1},
                {"id": 1, "r_edges": radii, "n_alpha": 4},
            ],
        }
    )


def spectrum(n, blur, seed, lit=0.7):
    """Showers whose voxels have an edge at 2, blurred by this much; means do not depend on it."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(3, n, 44, generator=generator)
    normal = torch.randn(n, 44, generator=generator)
    steep = CUT - 1.5 * torch.log(uniform[0])
    peak = 2.0 * torch.exp(blur * normal - 0.5 * blur**2 - 0.3 * torch.log(uniform[0]))
    return torch.where(uniform[1] < 0.3, peak, steep).clamp(min=CUT) * (uniform[2] < lit)


def fitted(real, drawn, **settings):
    calibration = VoxelSpectrum(geometry=detector(), **settings)
    rows = TensorRows(real, torch.ones(len(real), 1))
    calibration.fit(rows, lambda e_inc, start: drawn[start : start + len(e_inc)])
    return calibration


def distance(a, b):
    """Of Kolmogorov and Smirnov, between lit voxels."""
    a, b = (part[part > 0].sort().values for part in (a, b))
    grid = torch.cat([a, b])
    found = [torch.searchsorted(part, grid, right=True) / len(part) for part in (a, b)]
    return (found[0] - found[1]).abs().max().item()


def test_spectra_become_those_of_the_training_showers():
    real, drawn = spectrum(8000, 0.0, 1), spectrum(8000, 0.4, 2)
    fresh = spectrum(8000, 0.4, 3)  # not those that it was measured with
    found = fitted(real, drawn)(fresh)
    before, after = (distance(part[:, MANY], real[:, MANY]) for part in (fresh, found))
    assert before > 0.03
    assert after < 0.2 * before


def test_layers_keep_their_energy_voxels_their_order_and_the_cut():
    drawn = spectrum(3000, 0.4, 2, lit=0.3)
    drawn[0], drawn[1, MANY], drawn[1, 4] = 0.0, 0.0, 7.0  # an empty one, one with one voxel
    drawn[2, MANY] = CUT  # nothing over the cut
    found = fitted(spectrum(3000, 0.0, 1), drawn)(drawn)
    assert not torch.equal(found, drawn)
    torch.testing.assert_close(found[:, MANY].sum(1), drawn[:, MANY].sum(1))
    assert torch.equal(found > 0, drawn > 0)
    assert found[found > 0].min() >= CUT
    assert found[1, 4].item() == pytest.approx(7.0)
    order = drawn[:, MANY].argsort(1)
    assert (found[:, MANY].gather(1, order).diff(dim=1) >= -1e-5).all()


def test_a_layer_of_few_lit_voxels_is_left_alone():
    real, drawn = spectrum(3000, 0.0, 1), spectrum(3000, 0.4, 2)
    calibration = fitted(real, drawn)
    assert calibration.active.tolist() == [False, True]
    assert torch.equal(calibration(drawn)[:, FEW], drawn[:, FEW])
    everything = fitted(real, drawn, least_lit=0.0)
    assert everything.active.tolist() == [True, True]
    nothing = fitted(real, drawn, least_lit=50.0)
    assert torch.equal(nothing(drawn), drawn)


def test_each_layer_is_measured_by_its_own_voxels(monkeypatch):
    """Real and drawn ones alike: here a layer's voxels have one energy, another in each layer."""
    measured, real = [], torch.full((50, 44), 3.0)
    real[:, FEW] = 30.0
    monkeypatch.setattr(
        VoxelSpectrum, "_improve", lambda self, found, real: measured.append((found, real))
    )
    fitted(real, real, rounds=1, least_lit=0.0)
    for counts in measured[0]:
        assert (counts > 0).sum(1).tolist() == [1, 1]
        assert counts.sum(1).tolist() == [50 * 4, 50 * 40]


def test_right_spectra_hardly_change():
    calibration = fitted(spectrum(8000, 0.0, 1), spectrum(8000, 0.0, 2))
    fresh = spectrum(2000, 0.0, 3)
    change = (calibration(fresh) / fresh.clamp(min=CUT) - 1.0)[fresh > 0]
    assert change.abs().mean() < 0.01


def test_a_map_that_makes_spectra_worse_is_not_kept():
    """Layers of other energies: what the map gives, the sum takes away again."""
    real, drawn = spectrum(3000, 0.0, 1), spectrum(3000, 0.0, 2)
    bright = torch.arange(3000)[:, None] % 7 == 0
    drawn = torch.where(bright & (drawn > 0), CUT + 30 * (drawn - CUT), drawn)
    calibration = fitted(real, drawn, rounds=8)
    found = calibration(drawn)
    before, after = (distance(part[:, MANY], real[:, MANY]) for part in (drawn, found))
    assert after <= before * 1.05


def test_a_map_onto_the_cut_loses_no_energy():
    """Where all that a layer has is mapped onto the cut, nothing is left to scale."""
    calibration = VoxelSpectrum(geometry=detector())
    calibration.active.fill_(True)
    calibration.shift[:, :200] = -0.01 * torch.arange(200.0)
    drawn = torch.zeros(2, 44)
    drawn[0, 20], drawn[1, 20:23] = 2.0, torch.tensor([0.6, 0.9, 1.5])
    found = calibration(drawn)
    torch.testing.assert_close(found.sum(1), drawn.sum(1))
    assert found[found > 0].min() >= CUT


def test_what_lies_below_the_cut_stays():
    drawn = spectrum(3000, 0.4, 2)
    calibration = fitted(spectrum(3000, 0.0, 1), drawn)
    drawn[:, 10] = 0.1
    found = calibration(drawn)
    assert (found[:, 10] == drawn[:, 10]).all()
    torch.testing.assert_close(found.sum(1), drawn.sum(1))


def test_energies_beyond_all_that_was_measured_stay_finite():
    drawn = spectrum(3000, 0.4, 2)
    calibration = fitted(spectrum(3000, 0.0, 1), drawn)
    drawn[:, 5] = 1e7
    found = calibration(drawn)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, MANY].sum(1), drawn[:, MANY].sum(1))


def test_showers_that_are_dark_leave_nothing_to_correct():
    dark = torch.zeros(100, 44)
    calibration = fitted(dark, dark)
    assert not calibration.active.any()
    assert torch.equal(calibration(dark), dark)


def test_a_model_that_draws_nothing_is_left_alone():
    dark = torch.zeros(1000, 44)
    assert not fitted(spectrum(1000, 0.0, 1), dark).active.any()


def test_a_detector_without_a_cut():
    calibration = VoxelSpectrum(geometry=detector(threshold=0.0))
    real, drawn = spectrum(4000, 0.0, 1), spectrum(4000, 0.4, 2)
    rows = TensorRows(real, torch.ones(len(real), 1))
    calibration.fit(rows, lambda e_inc, start: drawn[start : start + len(e_inc)])
    found = calibration(drawn)
    assert distance(found[:, MANY], real[:, MANY]) < 0.2 * distance(drawn[:, MANY], real[:, MANY])


@pytest.mark.parametrize(
    "settings", [{"showers": 0}, {"rounds": 0}, {"least_lit": -1.0}], ids=lambda s: next(iter(s))
)
def test_settings_out_of_range(settings):
    with pytest.raises(UserError, match=f"{next(iter(settings))}="):
        VoxelSpectrum(geometry=detector(), **settings)


def test_no_training_showers():
    with pytest.raises(UserError, match="training split is empty"):
        fitted(torch.zeros(0, 44), torch.zeros(0, 44))


def test_models_sample_through_it_and_keep_it(tiny_geometry, tmp_path):
    cfg = config()
    cfg.calibration = {
        "_target_": "caloman_cli.models.calibrations.VoxelSpectrum",
        "least_lit": 0.0,
    }
    model = build(cfg, tiny_geometry)
    model.load_state_dict(
        {**model.state_dict(), **prepared(tiny_geometry).state_dict()}, strict=True
    )
    voxels, e_inc = showers(tiny_geometry)
    drawn = model.eval().draw(e_inc, Noise(4, 0, len(e_inc)))
    rows = TensorRows(voxels, e_inc)
    model.calibration.fit(rows, lambda e, i: model.draw(e, Noise(5, i, len(e))))
    found = model.sample(e_inc, Noise(4, 0, len(e_inc)))
    assert not torch.allclose(found, drawn)
    assert torch.equal(found, model.calibration(drawn))
    save_model(tmp_path / "model.pt", model, cfg)
    loaded, _ = load_model(tmp_path / "model.pt")
    assert torch.equal(loaded.sample(e_inc, Noise(4, 0, len(e_inc))), found)


def test_models_built_without_one_leave_showers_as_they_are(tiny_geometry):
    assert isinstance(build(config(), tiny_geometry).calibration, Unchanged)
