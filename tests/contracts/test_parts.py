"""Densities that are made of another: any option may be their part, or is refused in one line."""

import pytest
import torch

from caloman_cli.config.check import check_config
from caloman_cli.config.compose import compose
from caloman_cli.errors import UserError
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.conftest import ROOT
from tests.contracts.groups import layered, made, options, small, target
from tests.models.adversarial import fit

WHOLES = [
    name
    for name in options("density")
    if "/density@part" in (ROOT / f"conf/density/{name}.yaml").read_text(encoding="utf-8")
]
REFUSED = {"ar_codes", "constrained_ebm", "levels"}  # of what only an encoder hands over
OF_TR0N = {"forest", "avb"}  # without log_prob, and of several players
QUICK = {"gmm", "ar_codes", "constrained_ebm"}
PAIRS = [
    pytest.param(whole, part, marks=[] if part in QUICK else pytest.mark.slow)
    for whole in WHOLES
    for part in options("density")
]


def test_there_are_densities_of_densities():
    assert WHOLES == ["clustered", "levels", "tr0n", "unconditional"]


@pytest.mark.parametrize("whole", WHOLES)
def test_a_part_is_chosen_by_one_word(whole):
    chosen = [f"density={whole}", "density@density.part=gmm", "density.part.components=3"]
    cfg = compose("train", [*chosen, "output=x"])
    check_config(cfg, "train")
    assert cfg.density._target_ == target("density", whole)
    assert cfg.density.part._target_ == target("density", "gmm")
    assert cfg.density.part.components == 3
    assert "n_bins" not in cfg.density.part  # nothing is left of the part that it has by itself


@pytest.mark.parametrize(("whole", "part"), PAIRS)
def test_a_part_learns_and_draws_or_is_refused(whole, part):
    torch.manual_seed(0)
    cfg = small("density", whole)
    cfg.part = small("density", part)
    make = made("density", whole, cfg)
    sizes = {"latents": Latents(3, encoder="vae", layers=layered(3, 2)), "c_dim": 2}
    if part in REFUSED | (OF_TR0N if whole == "tr0n" else set()):
        with pytest.raises(UserError, match=r"choose another part, e\.g\. density@") as refused:
            make(**sizes)
        assert f"density={whole} " in str(refused.value)
        assert f"={part} " in str(refused.value) and "\n" not in str(refused.value)
        return
    z, c = torch.randn(120, 3), torch.randn(120, 2)
    density = make(**sizes)
    if list(density.parameters()):
        fit(density, (z, c), 2, 1e-3, batch=64)
    else:
        density.prepare(TensorRows(z, c))
    drawn = density.eval().sample(c, Noise(0, 0, len(c)))
    assert drawn.shape == z.shape and torch.isfinite(drawn).all()
    again = make(**sizes).eval()
    again.load_state_dict(density.state_dict())
    torch.testing.assert_close(again.sample(c, Noise(0, 0, len(c))), drawn)
    assert again.kind == density.kind
