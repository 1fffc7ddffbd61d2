"""How good showers are, as an object that prints as a table."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import OmegaConf

from caloman_cli.api.given import Given, Where, check_whole, opened
from caloman_cli.config.compose import CONF
from caloman_cli.config.targets import PLACES, constructor
from caloman_cli.data.cache import default_cache_dir
from caloman_cli.data.detector import dataset_geometry
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Metric
from caloman_cli.evaluation.truth import TruthPair, asked_truth, truth_pair
from caloman_cli.metrics.score import Score, score_grid, to_csv, with_unique_keys
from caloman_cli.runs.detector import run_dataset
from caloman_cli.runs.device import resolve_device

_NO_FIGURES = {"plots": "none", "plot": False}


@dataclass(frozen=True, repr=False)
class Scores:
    """What ``evaluate`` found; it prints as the table of its main scores, in a notebook too.

    Args:
        rows: The scores, in the order of the metrics.
        notes: What a reader must know before quoting a number.
    """

    rows: tuple[Score, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Score]:
        return iter(self.rows)

    def __getitem__(self, key: str) -> Score:
        """The score of a key, such as ``E_ratio``; :attr:`keys` are all."""
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(f"no score {key!r}: there is {', '.join(self.keys)}")

    @property
    def keys(self) -> list[str]:
        """The names of the scores."""
        return [row.key for row in self.rows]

    def __repr__(self) -> str:
        return "\n".join(self._table())

    def _repr_markdown_(self) -> str:
        return "\n\n".join(self._table())

    def _table(self) -> list[str]:
        main = [row for row in self.rows if row.summary] or self.rows
        table = score_grid(main, with_section=True).markdown()
        return [table, *(f"* {note}" for note in self.notes)]

    def to_csv(self) -> str:
        """The table as text: one line per score, full precision."""
        return to_csv(self.rows)


def evaluate(
    generated: Given,
    reference: Given,
    dataset: str | Geometry | None = None,
    *,
    metrics: Sequence[str | Metric] = ("separation",),
    truth: Given | None = None,
    seed: int = 1,
    device: str = "auto",
    plots: Where | None = None,
) -> Scores:
    """Score showers against real ones, beside what real ones score.

    The numbers are those of ``caloman evaluate`` with the same metrics and settings.

    Args:
        generated: What is judged: a file, :class:`Showers`, voxels [MeV] of shape (N, V) with the
            reference's incident energies, or (voxels, energies).
        reference: What judges: a file, :class:`Showers`, or (voxels, energies).
        dataset: A dataset's name, a run or a geometry; not needed where one of the two is Showers.
        metrics: Names of ``conf/metric/``, which have the settings of their files, or metrics of
            your own.
        truth: Independent real showers; None: halves of the reference.
        seed: Of everything random.
        device: Where classifiers are trained.
        plots: Folder for figures; None: none are kept.

    Raises:
        UserError: Something does not fit, a metric needs what is not there, or cannot be computed.
    """
    if not metrics or isinstance(metrics, str):
        raise UserError(f"metrics={metrics!r} must be a list of names: {', '.join(_known())}")
    check_whole("seed", seed)
    chosen = {_name(metric): _metric(metric, plots is not None) for metric in metrics}
    geometry = _geometry(dataset, generated, reference)
    real = opened(reference, "reference", geometry)
    judged = opened(generated, "generated", geometry, real)
    for name, showers in (("generated", judged), ("reference", real)):
        if showers.geometry.n_voxels != geometry.n_voxels:
            raise UserError(
                f"{name} has {showers.geometry.n_voxels} voxels ({showers.geometry.name}), "
                f"{geometry.name} has {geometry.n_voxels}"
            )
        if not len(showers):
            raise UserError(f"{name} has no showers: give one or more")
    given = None if truth is None else opened(truth, "truth", geometry)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(
            geometry, resolve_device(device), seed, default_cache_dir(),
            Path(folder if plots is None else plots).expanduser(), "generated",
            open_reference=lambda: real,
            open_generated=lambda: judged,
            open_truth=partial(_truth, given),
            open_train=_lacking("the showers that a model learned from"),
            open_model=_lacking("a model"),
        )  # fmt: skip
        sections = [metric(comparison) for metric in chosen.values()]
    scores = with_unique_keys(score for part in sections for score in part.with_conditions())
    notes = dict.fromkeys(note for part in sections for note in part.notes)
    return Scores(tuple(scores), tuple(notes))


def _geometry(dataset: str | Geometry | None, *given: Given) -> Geometry:
    if isinstance(dataset, Geometry):
        return dataset
    if dataset is not None:
        return _named(dataset)
    for showers in given:
        if isinstance(showers, Showers):
            return showers.geometry
    raise UserError("say whose showers these are: dataset=NAME, e.g. dataset='ds2'")


def _named(dataset: str) -> Geometry:
    """The detector of a dataset, or of a run."""
    try:
        return Geometry.named(dataset)
    except UserError:
        path = Path(dataset).expanduser()
        if not path.exists():
            raise
        return dataset_geometry(run_dataset(path))


def _truth(given: Showers | None, reference: Showers, n: int) -> TruthPair | None:
    return truth_pair(reference, n) if given is None else asked_truth(reference, n, given)


def _known() -> list[str]:
    return sorted(path.stem for path in (CONF / "metric").glob("*.yaml"))


def _name(metric: str | Metric) -> str:
    return metric if isinstance(metric, str) else type(metric).__name__


def _metric(metric: str | Metric, drawing: bool) -> Metric:
    """A metric with the settings of its file; without figures where nobody keeps them."""
    if not isinstance(metric, str):
        found = metric
    elif metric not in _known():
        raise UserError(f"metric {metric!r} does not exist: use {', '.join(_known())}")
    else:
        settings: Any = OmegaConf.to_container(OmegaConf.load(CONF / "metric" / f"{metric}.yaml"))
        if not drawing:
            settings |= {key: off for key, off in _NO_FIGURES.items() if key in settings}
        found = constructor(settings, PLACES["evaluation"], f"metric {metric}")()
    if lacking := sorted({"model", "train"} & set(found.needs)):
        raise UserError(
            f"metric {_name(metric)} needs a {' and a '.join(lacking)}: use 'caloman evaluate "
            f"run=RUN metric=[{_name(metric)}]'"
        )
    return found


def _lacking(what: str) -> Callable[[], NoReturn]:
    def refuse() -> NoReturn:
        raise UserError(f"a metric asks for {what}: use 'caloman evaluate run=RUN'")

    return refuse
