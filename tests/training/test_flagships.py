"""The flagship experiments, cut down: interrupted and resumed, they end in the same model."""

import pytest
import torch

from caloman_cli.config.compose import compose
from caloman_cli.models.two_step import load_model
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.interruption import Preempted
from caloman_cli.verbs.train import run

STAGES = ("energy", "encoder", "density")
SMALL = [
    "dataset.builtin.n_train=100",
    "dataset.builtin.n_reference=1",
    "energy.hidden=8",
    "energy.mask_hidden=8",
    "density.n_layers=1",
    "density.hidden=8",
    "encoder.latent_dim=2",
    "encoder.hidden=[16]",
    "encoder.kl_warmup=6",
    "head.hidden=8",
    *(f"trainer.{stage}.{key}" for stage in STAGES
      for key in ("epochs=2", "batch_size=32", "warmup=0")),
]  # fmt: skip
SCALES = ["head.state=8"]
WALK, CYLINDER = ["head.state=8"], ["head.layer_features=4", "head.embedding=2"]


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("flagship_photons", SCALES),
        *(
            pytest.param(name, own, marks=pytest.mark.slow, id=name)
            for name, own in (
                ("flagship_pions", SCALES),
                ("flagship_ds2", SCALES),
                ("flagship_ds3", SCALES),
                ("flagship1_photons", WALK),
                ("flagship1_pions", WALK),
                ("flagship1_ds2", CYLINDER),
                ("flagship1_ds3", CYLINDER),
            )
        ),
        pytest.param(
            "flagship_photons",
            [*SCALES, "trainer=h200"],
            marks=pytest.mark.slow,
            id="flagship_photons_h200",
        ),
    ],
)
def test_a_flagship_goes_on_to_the_same_model(name, own, tmp_path, preempt):
    """SIGTERM in the second epoch of the encoder, while the KL term is still warming up."""

    def command(output):
        where = [f"output={tmp_path / output}", f"cache_dir={tmp_path / 'cache'}", "device=cpu"]
        chosen = [f"experiment={name}", f"dataset=builtin_{name.partition('_')[2]}"]
        return compose("train", [*chosen, *own, *SMALL, *where])

    run(command("whole"))
    # Three batches an epoch, and one of validation.
    with preempt("encoder", 6), pytest.raises(Preempted):
        run(command("cut"))
    assert not (tmp_path / "cut/model.pt").exists()
    run(command("cut"))
    whole, cut = (load_model(tmp_path / part / "model.pt")[0] for part in ("whole", "cut"))
    resumed = cut.state_dict()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed[key]), key
    assert history(tmp_path / "whole") == history(tmp_path / "cut")


def history(path):
    """Scores of every epoch, those of weights that were not selected too."""
    rows = RunDirectory(path).history.rows()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
