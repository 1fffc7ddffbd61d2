"""Fixtures that every test may use."""

import gc
import os
import socket
import warnings
from pathlib import Path

import matplotlib
import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.data.geometry import Geometry

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parents[1]

gc.disable()  # while modules are imported, which stay


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not look through it with every test.

    Configs are many small objects that do go; looked for as often as usual, they take a tenth of
    the time of a test of the command line.
    """
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _torch_state_is_left_alone():
    """A test that changes torch's global settings would change its neighbours."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    yield
    assert torch.get_default_dtype() is dtype
    assert torch.is_grad_enabled() is grad


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real showers and golden numbers beside the checkout."""
    path = ROOT.parent / "shared"
    if not (path / "golden").is_dir():
        pytest.skip("no reference data beside the checkout")
    return path


def load_geometry(name: str) -> Geometry:
    """One of the four official geometries."""
    return Geometry.from_dict(
        OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/geometry/{name}.yaml"))
    )


@pytest.fixture(params=["ds1_photons", "ds1_pions", "ds2", "ds3"])
def geometry(request) -> Geometry:
    return load_geometry(request.param)


TINY = {
    "name": "tiny",
    "particle": "electron",
    "threshold": 0.1,
    "max_response": 2.0,
    "incident_range": [1.0e3, 1.0e5],
    "layers": [
        {"id": 0, "r_edges": [0, 5, 10], "n_alpha": 1},
        {"id": 1, "r_edges": [0, 5, 10], "n_alpha": 4},
        {"id": 12, "r_edges": [0, 10, 20], "n_alpha": 1},
    ],
}


@pytest.fixture(scope="session")
def tiny_geometry() -> Geometry:
    """Three layers, twelve voxels: small enough to train in a second."""
    return Geometry.from_dict(TINY)


@pytest.fixture
def wandb_alone(monkeypatch, tmp_path):
    """A wandb without a key, that has not been used before and reaches only this machine."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "localhost", "::1"):
            return connect(self, address)
        raise AssertionError(f"a test reached for the network: {address}")

    monkeypatch.setattr(socket.socket, "connect", local_only)
    # The library's own habits are not what is tested.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wandb.teardown()  # it reads its environment once
        yield
        wandb.teardown()
