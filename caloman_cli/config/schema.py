"""The keys of each verb and their types; what no constructor's signature can say.

A group with ``_target_`` (encoder, density, ...) is not described here: the signature of its
constructor is its schema. Ranges and forms are ``Annotated`` with an object that has ``says`` and
``accepts``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from caloman_cli.config.settings import TrainerSettings


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
class AtMost:
    """A number's upper bound, included."""

    maximum: int

    @property
    def says(self) -> str:
        return f"at most {self.maximum}"

    def accepts(self, value: Any) -> bool:
        return bool(value <= self.maximum)


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


@dataclass(frozen=True)
class Incident:
    """One incident energy, or two that bound a range."""

    says: str = "an energy above 0 [MeV] or [low,high]"

    def accepts(self, value: Any) -> bool:
        bounds = value if isinstance(value, list) else [value]
        numbers = all(isinstance(e, int | float) and not isinstance(e, bool) for e in bounds)
        inside = numbers and all(_LEAST_ENERGY <= e <= _MOST_ENERGY for e in bounds)
        return inside and (bounds is not value or len(bounds) == 2 and bounds[0] < bounds[1])


_LEAST_ENERGY, _MOST_ENERGY = 1e-3, 1e15  # MeV: what a file of showers may hold, too
Count = Annotated[int, AtLeast(1)]
Seed = Annotated[int, AtLeast(0), AtMost(2**63 - 1)]
Device = Annotated[str, Form(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:<index>")]

Names = str | list[str]
Rule = Literal["empty", "response", "units", "copies"]


@dataclass
class Target:
    """A group whose constructor's signature is its schema."""


@dataclass
class GeometryFacts:
    """Facts of a detector; the layers may come from a binning file."""

    name: str
    particle: Literal["photon", "pion", "electron"]
    threshold: Annotated[float, AtLeast(0)]
    max_response: Annotated[float, AtLeast(0)]
    incident_energies: list[Annotated[float, AtLeast(0)]] | None
    incident_weights: list[Annotated[float, AtLeast(0)]] | None
    incident_range: tuple[float, float] | None
    layers: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Files:
    """The public record of an official dataset."""

    doi: str
    record: int
    train: list[dict[str, str]]
    reference: list[dict[str, str]]


@dataclass
class Builtin:
    """What the built-in generator makes."""

    n_train: Count
    n_reference: Count
    seed: Seed


@dataclass
class Dataset:
    """The group ``dataset``."""

    name: str
    geometry: GeometryFacts
    train: list[Path] | None
    reference: list[Path] | None
    files: Files | None
    builtin: Builtin | None
    validation_fraction: Annotated[float, Between(0, 1)]
    geometry_xml: Path | None


@dataclass
class SomeDataset:
    """A dataset, or the parts of the run's dataset that are replaced."""

    name: str = ""
    geometry: GeometryFacts | None = None
    train: list[Path] | None = None
    reference: list[Path] | None = None
    files: Files | None = None
    builtin: Builtin | None = None
    validation_fraction: Annotated[float, Between(0, 1)] = 0.5
    geometry_xml: Path | None = None


@dataclass
class Sample:
    """``caloman sample``."""

    run: Path
    n: Count | None
    energies: Path | None
    energy: Annotated[Any, Incident()] | None
    out: Path | None
    seed: Seed
    batch_size: Count
    device: Device
    overwrite: bool
    trust: Names


@dataclass
class Suite:
    """The group ``evaluation``: a suite has the metrics that it names and that are not null."""

    name: Annotated[str, Form(r"[\w.-]+", "a name of letters, digits, _ . -")]
    extra: list[dict[str, Any]]
    separation: Target | None = None
    correlation: Target | None = None
    classifier: Target | None = None
    multiclass: Target | None = None
    distances: Target | None = None
    neighbours: Target | None = None
    quality: Target | None = None
    memorisation: Target | None = None
    intrinsic_dimension: Target | None = None
    timing: Target | None = None


@dataclass
class Evaluate:
    """``caloman evaluate``; the dataset may be the run's, then only its files are here."""

    run: Path | None
    generated: Path | None
    reference: Path | None
    truth: Path | None
    train: Path | None
    dataset: SomeDataset
    evaluation: Suite
    logger: Target | None
    protocol: Literal["final", "legacy2022"]
    output: Path | None
    overwrite: bool
    seed: Seed
    batch_size: Count
    device: Device
    data_dir: Path | None
    cache_dir: Path | None
    trust: Names


@dataclass
class Report:
    """``caloman report``."""

    runs: str | list[str]
    suite: str | None
    sort: str | None
    output: Path


@dataclass
class DataDownload:
    """``caloman data download``."""

    dataset: Dataset
    data_dir: Path | None


@dataclass
class DataCheck:
    """``caloman data check``."""

    dataset: Dataset
    file: Path
    out: Path | None
    chunk: Count | None


@dataclass
class DataGenerate:
    """``caloman data generate``."""

    dataset: Dataset
    out: Path
    n: Count | None
    energies: Path | None
    seed: Seed
    overwrite: bool


@dataclass
class Train:
    """``caloman train``."""

    dataset: Dataset
    preprocess: Target
    energy: Target
    encoder: Target
    head: Target
    density: Target
    calibration: Target
    trainer: TrainerSettings
    logger: Target
    output: Path
    overwrite: bool
    reuse: Path | None
    accept: Rule | list[Rule]
    seed: Seed
    device: Device
    data_dir: Path | None
    cache_dir: Path | None


@dataclass
class Student:
    """The network of a distilled density; null is the teacher's size."""

    hidden: Count | None
    n_blocks: Count | None
    n_frequencies: Count | None


@dataclass
class Distill:
    """``caloman distill``."""

    run: Path
    output: Path
    overwrite: bool
    steps: Count
    teacher_steps: Count | None
    paths: Annotated[int, AtLeast(2)]
    student: Student
    trainer: TrainerSettings
    logger: Target
    seed: Seed
    device: Device
    trust: Names


VERBS: dict[str, type] = {
    "train": Train,
    "distill": Distill,
    "sample": Sample,
    "evaluate": Evaluate,
    "report": Report,
    "data_download": DataDownload,
    "data_check": DataCheck,
    "data_generate": DataGenerate,
}
"""Name of the primary config -> its keys."""
