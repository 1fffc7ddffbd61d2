"""Published systems, each trained by its command with a budget of seconds."""

import shutil

import pytest
import torch

from caloman_cli.config.compose import compose
from caloman_cli.errors import UserError
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
    "name",
    ["ae_nsf", "ae_ebm", "vae_avb", "wae_vae", "bigan_arm", "avb_vae", "caloforest", "calo_vq"],
)
def test_a_published_system_trains_and_draws(name, tmp_path):
    chosen = [f"experiment=two_step_zoo_{name}"]
    if name == "caloforest":
        chosen = ["experiment=caloforest_ds1", *TREES]
    if name == "calo_vq":
        chosen = ["experiment=calo_vq_ds1"]
    run(compose("train", [*chosen, *FEW, f"output={tmp_path / 'run'}", f"cache_dir={tmp_path}"]))
    model, _ = load_model(tmp_path / "run/model.pt")
    e_inc = torch.tensor([[256.0], [65536.0], [256.0]])
    voxels = model.sample(e_inc, Noise(0, 0, 3))
    assert voxels.shape == (3, 368) and (voxels >= 0).all()
    assert voxels[1].sum() > voxels[0].sum()


SMALL_NETWORKS = ["encoder.latent_dim=3", "encoder.hidden=[16]", "density.part.hidden=16"]


@pytest.mark.slow
def test_an_unconditional_run_is_made_to_answer_conditions(tmp_path):
    """Its encoder by reuse=, its density by density.run=; the new run needs neither afterwards."""

    def train(name, *chosen):
        run(
            compose("train", [*FEW, *chosen, f"output={tmp_path / name}", f"cache_dir={tmp_path}"])
        )

    own = ["recipe=none", *SMALL_NETWORKS]
    train("plain", *own, "density=unconditional")
    tr0n = ["density=tr0n", "density.steps=3", f"density.run={tmp_path / 'plain'}"]
    with pytest.raises(UserError, match="the latents of another encoder than this run's: give"):
        train("other", "recipe=none", *SMALL_NETWORKS[:2], *tr0n, "seed=2")
    taken = ["recipe=none", *SMALL_NETWORKS[:2], *tr0n, f"reuse={tmp_path / 'plain'}"]
    train("answers", *taken)
    first, answers = (
        load_model(tmp_path / f"{name}/model.pt")[0] for name in ("plain", "answers")
    )
    for name, value in first.density.part.state_dict().items():
        assert torch.equal(value, answers.density.part.state_dict()[name]), name
    with pytest.raises(UserError, match="has density=tr0n, which is told conditions"):
        train("more", *taken[:-2], f"density.run={tmp_path / 'answers'}")
    shutil.rmtree(tmp_path / "plain")
    model, _ = load_model(tmp_path / "answers/model.pt")
    assert model.sample(torch.tensor([[1024.0]]), Noise(0, 0, 1)).shape == (1, 368)


@pytest.mark.slow
def test_codes_of_images_train_and_draw(tmp_path):
    """calo_vq_ds2: convolutions beside a codebook."""
    few = [*FEW[2:], "dataset=builtin_ds2", "dataset.builtin.n_train=24"]
    few += ["dataset.builtin.n_reference=1", "encoder.latent_dim=4", "encoder.n_codes=8"]
    chosen = ["experiment=calo_vq_ds2", *few, f"output={tmp_path / 'run'}"]
    run(compose("train", [*chosen, f"cache_dir={tmp_path}"]))
    model, _ = load_model(tmp_path / "run/model.pt")
    voxels = model.sample(torch.tensor([[1e3], [1e6]]), Noise(0, 0, 2))
    assert voxels.shape == (2, 6480) and voxels[1].sum() > voxels[0].sum()
