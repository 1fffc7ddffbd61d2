"""``encoder.latent_dim=auto`` with every encoder that has the choice, and every head."""

import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.errors import UserError
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training import untrained
from caloman_cli.training.interruption import Preempted
from caloman_cli.training.trainer import Trainer
from caloman_cli.verbs import train
from tests.contracts.groups import options, small, tiny, toy_for
from tests.contracts.pairs import PAIRS, THIN, density_for, slow_unless
from tests.training.test_train_verb import compose, write_showers

FREE = [name for name in options("encoder") if "latent_dim" in small("encoder", name)]
AUTO = [pair for pair in PAIRS if pair[0] in FREE]
HEADS = [("pca", head) for head in options("head")]


@pytest.fixture(params=slow_unless(THIN, AUTO))
def pair(request):
    return request.param


def chosen(folder, encoder, head):
    """The config of a training for the smallest detector that the head serves."""
    geometry = toy_for(head, tiny())
    write_showers(folder, geometry)
    short = [
        f"trainer.{stage}.{key}"
        for stage in ("energy", "encoder", "density")
        for key in ("epochs=1", "batch_size=32", "warmup=0")
    ]
    groups = [f"encoder={encoder}", f"head={head}", "preprocess=shares", *short]
    groups += ["energy.n_layers=1", "energy.hidden=8", "energy.n_blocks=1"]
    cfg = compose(folder, geometry, *groups, f"density={density_for(encoder, head)}", small=[])
    for group, name in (("encoder", encoder), ("head", head)):
        cfg[group] = OmegaConf.merge(cfg[group], small(group, name))
    cfg.encoder.latent_dim = "auto"
    return cfg


def begun(cfg, monkeypatch):
    """The config that a training goes on with, where it begins to learn."""

    def stop(*_):
        raise Preempted(15)

    monkeypatch.setattr(Trainer, "fit", stop)
    with pytest.raises(Preempted):
        train.run(cfg)
    return RunDirectory(cfg.output).config


def test_a_number_takes_its_place(pair, tmp_path, monkeypatch):
    """The same for all: what is estimated is of the showers."""
    cfg = chosen(tmp_path, *pair)
    monkeypatch.setattr(untrained, "estimate_latent_dim", lambda x: 2)
    assert begun(cfg, monkeypatch).encoder.latent_dim == 2


@pytest.mark.parametrize(
    ("pair", "most"),
    [(("ae", "gaussian"), 12), (("rnf", "gaussian"), 11), (("pca", "gaussian"), 12),
     (("pca", "cylinder"), 30), (("rnf", "cylinder"), 29)],
)  # fmt: skip
def test_it_is_no_more_than_an_encoder_can_have(pair, most, tmp_path, monkeypatch, caplog):
    """Of features that a head shows there may be fewer than voxels."""
    cfg = chosen(tmp_path, *pair)
    monkeypatch.setattr(untrained, "estimate_latent_dim", lambda x: x.shape[1])
    assert begun(cfg, monkeypatch).encoder.latent_dim == most
    told = [message for message in caplog.messages if "latent_dim=auto: " in message]
    assert bool(told) == (pair[0] == "rnf" or pair[1] == "cylinder")


def test_who_has_no_choice_has_no_auto(tmp_path):
    """The voxels themselves are as many as they are."""
    with pytest.raises(UserError, match="latent_dim"):
        train.run(
            compose(tmp_path, tiny(), "encoder=identity", "+encoder.latent_dim=auto", small=[])
        )


@pytest.mark.slow
@pytest.mark.parametrize("pair", slow_unless((), sorted((THIN & set(AUTO)) | set(HEADS))))
def test_a_model_of_it_makes_showers(pair, tmp_path):
    cfg = chosen(tmp_path, *pair)
    model, config = load_model(train.run(cfg) / "model.pt")
    # Latents of layers are counted apart; what is where a function is zero has fewer dimensions
    # than the latents that are its points.
    dim = getattr(model.encoder, "manifold_dim", model.encoder.n_shower)
    assert 1 <= config["encoder"]["latent_dim"] == dim
    assert model.encoder.latent_dim == model.encoder.n_learned + model.encoder.head.moment_dim
    showers = model.sample(torch.full((5, 1), 1e4), Noise(1, 0, 5))
    assert showers.shape == (5, model.geometry.n_voxels)
    assert torch.isfinite(showers).all()
