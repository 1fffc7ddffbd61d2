"""Published systems, each trained by its command with a budget of seconds."""

import pytest
import torch

from caloman_cli.config.compose import compose
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model
from caloman_cli.verbs.train import run

STAGES = ("energy", "encoder", "density")
FEW = [
    "dataset=builtin_photons",
    "dataset.builtin.n_train=150",
    "dataset.builtin.n_reference=1",
    "device=cpu",
    *(f"trainer.{stage}.{key}" for stage in STAGES for key in ("epochs=1", "warmup=0")),
]
TREES = ["density.times=2", "density.copies=1", "density.trees=2", "density.depth=2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ae_nsf", "vae_avb", "wae_vae", "bigan_nsf", "avb_vae", "caloforest"]
)
def test_a_published_system_trains_and_draws(name, tmp_path):
    chosen = [f"experiment=two_step_zoo_{name}"]
    if name == "caloforest":
        chosen = ["experiment=caloforest_ds1", *TREES]
    run(compose("train", [*chosen, *FEW, f"output={tmp_path / 'run'}", f"cache_dir={tmp_path}"]))
    model, _ = load_model(tmp_path / "run/model.pt")
    e_inc = torch.tensor([[256.0], [65536.0], [256.0]])
    voxels = model.sample(e_inc, Noise(0, 0, 3))
    assert voxels.shape == (3, 368) and (voxels >= 0).all()
    assert voxels[1].sum() > voxels[0].sum()
