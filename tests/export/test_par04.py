"""A file for Geant4's Par04: one input of eight numbers, voxels in r, phi, z, energies in GeV."""

import pytest
import torch

from caloman_cli.cli.main import main
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.export import files
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import build, save_model
from tests.contracts.groups import small
from tests.export.cases import PLAIN

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    torch.manual_seed(4)
    config = {group: small(group, name) for group, name in PLAIN.items()}
    model = build(config, Geometry.named("ds2"))
    model.spectrum = Spectrum((1e3, 1e6))
    path = tmp_path_factory.mktemp("par04") / "model.pt"
    save_model(path, model, config)
    return path, model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["inside", "input"])
def test_par04_draws_the_models_showers(noise, model_path, tmp_path):
    path, model = model_path
    out = tmp_path / "par04.onnx"
    asked = ["target=par04", f"noise={noise}", "showers=4"]
    assert main(["export", f"run={path}", f"out={out}", *asked]) == 0
    (port,) = files.describe(out)["inputs"]
    assert port["shape"] == [1, 8]
    run = files.runner(out, "onnx")
    if noise == "inside":  # GeV, angles, detector
        given = torch.tensor([[50.0, 0.3, 1.0, 0, 0, 1, 0, 0]])
        shower, seed = run({port["name"]: given})
        assert int(seed) != int(run({port["name"]: given})[1])
        expected = model.sample(torch.tensor([[5e4]]), Noise(int(seed), 0, 1)) / 1e3
        scale = 50.0
    else:  # four normal numbers, shares of 1.024 TeV and of 90 degrees, detector
        given = torch.tensor([[0.3, -1.2, 0.7, 2.0, 5e4 / 1.024e6, 0.5, 0.0, 1.0]])
        (shower,) = run({port["name"]: given})
        assert torch.equal(shower, run({port["name"]: given})[0])
        uniform = torch.special.ndtr(given[0, :4]).double()
        bits = [int(u * 2**16) for u in uniform]
        seed = sum(b << (16 * i) for i, b in enumerate(bits))
        seed = seed - 2**64 if seed >> 63 else seed
        expected = model.sample(torch.tensor([[5e4]]), Noise(seed, 0, 1)) / 5e4
        scale = 1.0
    ordered = expected.view(45, 16, 9).permute(2, 1, 0).reshape(1, -1)
    assert shower.shape == (1, 6480)
    assert float((shower - ordered).abs().max()) < 1e-5 * scale
