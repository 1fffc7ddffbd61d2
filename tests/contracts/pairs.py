"""Which encoders speak through which heads, and which of these pairs the default tests see.

All pairs are many, and what a pair does is nearly always what its encoder and its head do. So the
default tests have every encoder with a plain head and every head with one encoder; all the others
are slow.
"""

import itertools
from collections.abc import Collection, Sequence
from functools import cache

import pytest

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.latents import Latents
from tests.contracts.groups import make_encoder, options, tiny, toy_for, toys

Pair = tuple[str, str]
WALK = "autoregressive_dipoles"  # a head that wants moments


@cache
def _made(encoder: str, head: str) -> Encoder | None:
    """A pair in the smallest detector that the head serves, not to be changed."""
    try:
        return make_encoder(encoder, head, toy_for(head, tiny()))
    except UserError:
        return None


def fits(encoder: str, head: str) -> bool:
    """Whether an encoder can speak through a head."""
    return _made(encoder, head) is not None


def latents_of(encoder: str, head: str) -> Latents:
    """What an encoder hands over."""
    made = _made(encoder, head)
    assert made is not None
    return made.latents


def wants_moments(head: str) -> bool:
    """Whether a head would like to be told of a shower's moments."""
    made = _made("vae", head)
    return made is not None and made.head.moment_dim > 0


EVERY: list[Pair] = list(itertools.product(options("encoder"), options("head")))
# Strangers' encoders with one head of each kind: plain, and wanting moments.
EVERY += list(itertools.product(toys("encoder"), ["gaussian", WALK]))
PAIRS = [pair for pair in EVERY if fits(*pair)]
# Codes have no volume.
REAL = [pair for pair in PAIRS if latents_of(*pair).kind == "real"]
WITH_MOMENTS = [pair for pair in PAIRS if wants_moments(pair[1])]
# Every encoder once, with the first of these heads that it can speak through.
THIN = {
    next(pair for pair in sorted(PAIRS, key=lambda pair: pair[1] != "gaussian") if pair[0] == name)
    for name, _ in PAIRS
}
SPANNING = THIN | {("vae", head) for head in options("head")}


def density_for(encoder: str, head: str) -> str:
    """A small density of what an encoder hands over."""
    return "standard_normal" if latents_of(encoder, head).kind == "real" else "ar_codes"


def slow_unless(default: Collection[Pair], pairs: Sequence[Pair]) -> list:
    """The parameters of a test: all pairs, those that are not default ones slow."""
    marks = {True: (), False: (pytest.mark.slow,)}
    return [pytest.param(p, id="-".join(p), marks=marks[p in default]) for p in pairs]
