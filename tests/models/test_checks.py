"""What has to hold of a batch is asked once, and said as if it were asked where it broke."""

import pytest
import torch

from caloman_cli.config.compose import compose
from caloman_cli.data.sources import open_dataset
from caloman_cli.models.checks import asked_once, require, somewhere
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import build
from tests.models.operations import Counting

_YES, _NO = torch.tensor(True), torch.tensor(False)


def test_what_does_not_hold_is_said_at_once_or_at_the_end():
    with pytest.raises(FloatingPointError, match="first"):
        require(_NO, lambda: "first")
    reached = False
    with pytest.raises(FloatingPointError, match="second"), asked_once():
        require(_YES, lambda: "first")
        require(_NO, lambda: "second")
        require(_NO, lambda: "third")
        reached = True
    assert reached
    with pytest.raises(FloatingPointError, match="after"):
        require(_NO, lambda: "after")


def test_what_broke_a_later_step_is_named():
    with pytest.raises(FloatingPointError, match="not finite"), asked_once():
        require(_NO, lambda: "latents are not finite")
        raise IndexError("out of range")
    with pytest.raises(IndexError), asked_once():
        require(_YES, lambda: "latents are not finite")
        raise IndexError("out of range")


def test_blocks_inside_another_are_asked_with_it():
    with pytest.raises(FloatingPointError, match="inside"), asked_once():
        with asked_once():
            require(_NO, lambda: "inside")
        assert True


def test_whether_anything_is_marked_is_asked_on_a_cpu_alone():
    assert somewhere(torch.tensor([False, True]))
    assert not somewhere(torch.tensor([False, False]))
    assert somewhere(torch.zeros(2, dtype=torch.bool, device="meta"))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("photons", 3_800),
        ("ds2", 6_000),
        pytest.param("pions", 4_100, marks=pytest.mark.slow),
        pytest.param("ds3", 6_800, marks=pytest.mark.slow),
    ],
)
def test_flagships_ask_the_device_nothing(name, most):
    """On a device that has no values, no shape depends on them and nobody asks for them.

    Every operation is a call from Python, which is what one shower costs.
    """
    cfg = compose("train", [f"experiment=flagship_{name}", f"dataset=builtin_{name}"])
    model = build(cfg, open_dataset(cfg.dataset, None, None).geometry).to("meta").eval()
    e_inc = torch.logspace(3, 4, 7)[:, None].to("meta")
    with Counting() as counting:
        voxels = model.sample(e_inc, Noise(1, 0, 7, "meta"))
    assert voxels.shape == (7, model.geometry.n_voxels)
    assert counting.calls.total() <= most
