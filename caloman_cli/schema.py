"""The keys of each verb and their types; what no constructor's signature can say.

A group with ``_target_`` (encoder, density, ...) is not described here: the signature of its
constructor is its schema. Ranges and forms are ``Annotated`` with an object that has ``says`` and
``accepts``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any


@dataclass(frozen=True)
class AtLeast:
    """A number's lower bound, included."""

    minimum: float

    @property
    def says(self) -> str:
        return f"{self.minimum:g} or more"

    def accepts(self, value: Any) -> bool:
        return bool(value >= self.minimum)


@dataclass(frozen=True)
class Between:
    """An open interval."""

    lower: float
    upper: float

    @property
    def says(self) -> str:
        return f"between {self.lower:g} and {self.upper:g}"

    def accepts(self, value: Any) -> bool:
        return self.lower < value < self.upper


@dataclass(frozen=True)
class Form:
    """A regular expression and what it says in words."""

    pattern: str
    says: str

    def accepts(self, value: Any) -> bool:
        return re.fullmatch(self.pattern, str(value)) is not None


Count = Annotated[int, AtLeast(1)]
Seed = Annotated[int, AtLeast(0)]
Device = Annotated[str, Form(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:<index>")]


@dataclass
class Target:
    """A group whose constructor's signature is its schema."""


@dataclass
class Sample:
    run: Path
    n: Count | None
    energies: Path | None
    out: Path | None
    seed: Seed
    batch_size: Count
    device: Device
    overwrite: bool


VERBS: dict[str, type] = {"sample": Sample}
"""Name of the primary config -> its keys."""
