"""The keys of each verb and their types; what no constructor's signature can say.

A group with ``_target_`` (encoder, density, ...) is not described here: the signature of its
constructor is its schema. Ranges and forms are those of :mod:`caloman_cli.config.values`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, Predicate, doc

from caloman_cli.config.dataset import DatasetSettings, Particle
from caloman_cli.config.figures import FigureSettings, ReportFigures
from caloman_cli.config.settings import TrainerSettings
from caloman_cli.config.values import PARTIAL, Compression, Count, Natural, Seed, Several, form

_LEAST_ENERGY, _MOST_ENERGY = 1e-3, 1e15  # MeV: what a file of showers may hold, too


def _incident(value: Any) -> bool:
    """Whether a value is one incident energy, or two that bound a range."""
    bounds = value if isinstance(value, list) else [value]
    numbers = all(isinstance(e, int | float) and not isinstance(e, bool) for e in bounds)
    inside = numbers and all(_LEAST_ENERGY <= e <= _MOST_ENERGY for e in bounds)
    return inside and (bounds is not value or len(bounds) == 2 and bounds[0] < bounds[1])


Portion = Annotated[float, Gt(0), Le(1)]
Device = Annotated[str, form(r"auto|cpu|cuda(:\d+)?"), doc("auto, cpu, cuda or cuda:<index>")]
Name = Annotated[str, form(r"[\w.-]+"), doc("a name of letters, digits, _ . -")]
Incident = Annotated[Any, Predicate(_incident), doc("an energy above 0 [MeV] or [low,high]")]
Span = Annotated[str, form(r"-?\d*:-?\d*(:[1-9]\d*)?"), doc("START:STOP or START:STOP:STEP")]

Names = str | list[str]
Rule = Literal["empty", "response", "units", "copies"]


@dataclass
class Target:
    """A group whose constructor's signature is its schema."""


@dataclass
class Sample:
    """``caloman sample``."""

    run: Path | list[Path]
    n: Count | None
    energies: Path | None
    energy: Incident | None
    out: Path | None
    seed: Seed
    batch_size: Count
    compression: Compression
    shards: Count | None
    shard: Natural | None
    device: Device
    overwrite: bool
    trust: Names


@dataclass
class Suite:
    """The group ``evaluation``: a name, and the metrics of ``conf/metric`` under names of theirs.

    A metric that is null is left out.
    """

    name: Name
    extra: list[dict[str, Any]]

    OTHERS = Target | None


@dataclass
class Evaluate:
    """``caloman evaluate``; the dataset may be the run's, then only its files are here."""

    run: Path | list[Path] | None
    generated: Path | None
    reference: Path | None
    truth: Path | None
    train: Path | None
    dataset: Annotated[DatasetSettings, PARTIAL]
    evaluation: Suite
    logger: Target | None
    protocol: Literal["final", "legacy2022"]
    figures: FigureSettings
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
    by: Literal["seed"] | None
    overlay: Literal["main", "all", "none"]
    band: bool
    figures: ReportFigures
    output: Path


@dataclass
class DataDownload:
    """``caloman data download``."""

    dataset: DatasetSettings
    data_dir: Path | None


@dataclass
class DataCheck:
    """``caloman data check``."""

    dataset: DatasetSettings
    file: Path
    out: Path | None
    chunk: Count | None


@dataclass
class DataGeometry:
    """``caloman data geometry``; a binning file, or the detector of a dataset or a run."""

    file: Path | None
    particle: Particle | None
    out: Path | None
    dataset: Annotated[DatasetSettings, PARTIAL]


@dataclass
class DataGenerate:
    """``caloman data generate``."""

    dataset: DatasetSettings
    out: Path
    n: Count | None
    energies: Path | None
    seed: Seed
    overwrite: bool


@dataclass
class Parts:
    """Shares of a file's showers."""

    train: Portion | None
    truth: Portion | None
    reference: Portion | None


@dataclass
class DataSplit:
    """``caloman data split``; the dataset may be left out."""

    dataset: Annotated[DatasetSettings, PARTIAL]
    file: Path
    out: Path
    parts: Parts
    seed: Seed | None
    overwrite: bool


@dataclass
class DataMerge:
    """``caloman data merge``; the dataset may be left out."""

    dataset: Annotated[DatasetSettings, PARTIAL]
    files: Path | list[Path]
    out: Path
    overwrite: bool


@dataclass
class DataSelect:
    """``caloman data select``; the dataset may be left out."""

    dataset: Annotated[DatasetSettings, PARTIAL]
    file: Path
    out: Path
    energy: Incident | None
    rows: Span | list[Natural] | None
    overwrite: bool


@dataclass
class DataLimit:
    """``caloman data limit``; the dataset may be left out."""

    dataset: Annotated[DatasetSettings, PARTIAL]
    file: Path
    out: Path
    n: Count
    seed: Seed | None
    overwrite: bool


@dataclass
class DataConvert:
    """``caloman data convert``; the dataset may be left out of a file that names its own."""

    dataset: Annotated[DatasetSettings, PARTIAL]
    file: Path
    out: Path
    unit: Literal["MeV", "GeV"] | None
    pdg: int | None
    overwrite: bool


@dataclass
class Train:
    """``caloman train``."""

    dataset: DatasetSettings
    preprocess: Target
    energy: Target
    encoder: Target
    head: Target
    density: Target
    calibration: Target
    trainer: TrainerSettings
    logger: Target
    output: Path
    name: str | None
    tags: Names
    overwrite: bool
    reuse: Path | None
    accept: Rule | list[Rule]
    evaluate_after: Names | None
    seed: Seed
    device: Device
    data_dir: Path | None
    cache_dir: Path | None


@dataclass
class Distill:
    """``caloman distill``."""

    run: Path
    output: Path
    name: str | None
    tags: Names
    overwrite: bool
    method: Literal["path", "cd", "direct"]
    steps: Count
    levels: Count
    teacher_steps: Count | None
    paths: Several | None
    student: dict[str, Any]
    evaluate_after: Names | None
    trainer: TrainerSettings
    logger: Target
    seed: Seed
    device: Device
    trust: Names


@dataclass
class Export:
    """``caloman export``."""

    run: Path
    out: Path
    format: Literal["onnx", "exported_program"]
    target: Literal["plain", "par04"]
    noise: Literal["inside", "input"]
    batch_sizes: list[Count] | None
    showers: Count
    seed: Seed
    overwrite: bool
    trust: Names


@dataclass
class ExportDescribe:
    """``caloman export describe``."""

    file: Path
    json: bool


VERBS: dict[str, type] = {
    "train": Train,
    "distill": Distill,
    "sample": Sample,
    "export": Export,
    "export_describe": ExportDescribe,
    "evaluate": Evaluate,
    "report": Report,
    "data_download": DataDownload,
    "data_check": DataCheck,
    "data_geometry": DataGeometry,
    "data_generate": DataGenerate,
    "data_split": DataSplit,
    "data_merge": DataMerge,
    "data_select": DataSelect,
    "data_limit": DataLimit,
    "data_convert": DataConvert,
}
"""Name of the primary config -> its keys."""
