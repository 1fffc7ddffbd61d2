"""What log_prob is, and which latents a density learns."""

import pytest

from caloman_cli.errors import UserError
from caloman_cli.models.densities.ar_codes import ARCodes
from caloman_cli.models.densities.flow import NSF
from caloman_cli.models.kinds import KINDS, weakest
from caloman_cli.models.latents import Latents


def test_a_sum_is_as_good_as_its_weakest_part():
    assert KINDS == ("exact", "bound", "estimate", "score", "none")
    assert weakest("exact", "score", "bound") == "score"
    assert weakest("exact") == weakest() == "exact"
    # A solver's error has either sign: nothing is a bound beside it.
    assert weakest("bound", "estimate") == "estimate"
    assert weakest("none", *KINDS) == "none"
    with pytest.raises(ValueError, match="not in tuple"):
        weakest("exact", "good")


@pytest.mark.parametrize(
    "wrong",
    [{"dim": 0}, {"kind": "codes"}, {"kind": "codes", "n_codes": 1}, {"n_codes": 5},
     {"kind": "words"}],
)  # fmt: skip
def test_latents_that_do_not_fit_together(wrong):
    with pytest.raises(ValueError, match="Latents"):
        Latents(**{"dim": 3, **wrong})


def test_a_density_of_real_latents_refuses_codes():
    """Splines through whole numbers without an order would learn nonsense in silence."""
    codes = Latents(4, "codes", 16, encoder="VQ")
    with pytest.raises(UserError) as refused:
        NSF(latents=codes, c_dim=1)
    assert str(refused.value) == (
        "density=nsf learns latents that are real, encoder=VQ hands over 4 codes, each one of 16: "
        "use a density of codes, e.g. density=transformer, or an encoder with real latents, e.g. "
        "encoder=vae"
    )
    with pytest.raises(UserError, match=r"or an encoder with codes, e\.g\. encoder=vqvae$"):
        ARCodes(latents=Latents(4), c_dim=1)
    assert NSF(latents=Latents(4), c_dim=1).z_dim == 4
