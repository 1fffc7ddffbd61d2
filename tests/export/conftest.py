"""A small model, and the file that ``caloman export`` makes of it."""

import pytest
import torch

from caloman_cli.cli.main import main
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.models.two_step import build, save_model
from tests.contracts.grid import DETECTORS
from tests.contracts.groups import small
from tests.export.cases import PLAIN

LOW, HIGH = 1e3, 1e5


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """An untrained model with draws of both kinds."""
    torch.manual_seed(3)
    config = {group: small(group, name) for group, name in PLAIN.items()}
    model = build(config, DETECTORS["ds1"])
    model.spectrum = Spectrum((LOW, HIGH))
    path = tmp_path_factory.mktemp("export") / "model.pt"
    save_model(path, model, config)
    return path


@pytest.fixture(scope="session")
def onnx_path(model_path):
    pytest.importorskip("onnxruntime")
    out = model_path.with_name("inside.onnx")
    assert main(["export", f"run={model_path}", f"out={out}", "showers=32"]) == 0
    return out
