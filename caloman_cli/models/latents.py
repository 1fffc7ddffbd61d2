"""What an encoder hands over to a density."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Tensor

from caloman_cli.errors import UserError

LatentKind = Literal["real", "codes"]
_INSTEAD = {
    "real": "a density of real latents, e.g. density=nsf, or an encoder with codes, e.g. "
    "encoder=vqvae",
    "codes": "a density of codes, e.g. density=transformer, or an encoder with real latents, e.g. "
    "encoder=vae",
}

ANOTHER_PART = "choose another part, e.g. density@density.part=nsf"


@dataclass(frozen=True)
class LayerLatents:
    """Which latents belong to layers: K of each, layer after layer.

    Args:
        start: The place of the first one among the D.
        each: K.
        told: Of each of the L layers, which columns of c speak of it.
    """

    start: int
    each: int
    told: tuple[tuple[int, ...], ...]

    @property
    def stop(self) -> int:
        """The place behind the last one."""
        return self.start + self.each * len(self.told)


@dataclass(frozen=True)
class Latents:
    """The space of latents z (B, D).

    Args:
        dim: D.
        kind: ``real`` numbers, or ``codes``: whole numbers 0 ... ``n_codes`` - 1, without an
            order, as float32.
        n_codes: How many codes each of the D is one of; of ``real`` numbers none.
        encoder: Who hands them over, for messages.
        part_of: The density that hands them to a part of its own, for messages; empty: an encoder
            does.
        constraint: (z (B, D), c (B, C)) -> (B, M), zero where latents are, if they are told so.
        layers: Which of them are those of layers; None: all are the shower's.

    Raises:
        ValueError: These do not fit together.
    """

    dim: int
    kind: LatentKind = "real"
    n_codes: int | None = None
    encoder: str = field(default="?", compare=False)
    part_of: str = field(default="", compare=False)
    constraint: Callable[[Tensor, Tensor], Tensor] | None = field(
        default=None, compare=False, repr=False
    )
    layers: LayerLatents | None = None

    def __post_init__(self) -> None:
        if self.dim < 1 or self.kind not in get_args(LatentKind):
            raise ValueError(f"no space of latents: {self!r}")
        if (self.kind == "codes") != (self.n_codes is not None and self.n_codes > 1):
            raise ValueError(f"codes need n_codes of 2 or more, real numbers none: {self!r}")
        if self.layers is not None and self.layers.stop > self.dim:
            raise ValueError(f"more latents of layers than there are: {self!r}")

    def __str__(self) -> str:
        if self.n_codes is None:
            return f"{self.dim} real numbers"
        return f"{self.dim} codes, each one of {self.n_codes}"

    @property
    def source(self) -> str:
        """Who hands them over, as it is typed."""
        return f"density={self.part_of}" if self.part_of else f"encoder={self.encoder}"

    def require(self, accepts: tuple[LatentKind, ...], density: str) -> None:
        """Check that a density can learn them.

        Args:
            accepts: The kinds that it learns.
            density: Its name.

        Raises:
            UserError: It cannot; names both and what to use.
        """
        if self.kind not in accepts:
            instead = ANOTHER_PART if self.part_of else f"use {_INSTEAD[self.kind]}"
            raise UserError(
                f"density={density} learns latents that are {' or '.join(accepts)}, "
                f"{self.source} hands over {self}: {instead}"
            )
