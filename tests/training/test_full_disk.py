"""No room left, at whichever file of a training: one line, and the same command ends the run."""

import resource
import shutil
from contextlib import contextmanager

import pytest
from omegaconf import OmegaConf

from caloman_cli.cli.endings import MISTAKE, explain
from caloman_cli.data.files import checksum, is_part
from caloman_cli.errors import CannotWrite
from caloman_cli.verbs import train
from tests.training.test_train_verb import compose, write_showers


@contextmanager
def room(size):
    """No file of this process may grow beyond a size [bytes]."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_geometry):
    path = tmp_path_factory.mktemp("full")
    write_showers(path, tiny_geometry)
    train.run(compose(path, tiny_geometry))
    return path


@pytest.fixture(scope="module")
def cfg(folder, tiny_geometry):
    return compose(folder, tiny_geometry)


@pytest.mark.parametrize("name", ["energy/best.pt", "density/last.pt", "latents.h5", "model.pt"])
def test_a_file_that_does_not_fit(folder, cfg, tmp_path, name):
    path = shutil.copytree(folder / "run", tmp_path / "run")
    cfg = OmegaConf.merge(cfg, {"output": str(path)})
    (path / "model.pt").unlink()
    if "/" in name:
        shutil.rmtree((path / name).parent)
    else:
        (path / name).unlink(missing_ok=True)
    size = (folder / "run" / name).stat().st_size
    with room(size - 1), pytest.raises(CannotWrite) as refused:
        train.run(cfg)
    full = f"caloman: {path / name}: no room left on the disk: free some or write elsewhere"
    assert explain(refused.value) == (MISTAKE, full.removeprefix("caloman: "))
    assert not [path for path in tmp_path.rglob("*") if is_part(path.name)]
    train.run(cfg)
    for name in ("preprocess.pt", "latents.h5", "density/best.pt"):
        assert checksum(path / name) == checksum(folder / "run" / name)
