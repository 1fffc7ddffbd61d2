"""What an evaluation works on and what one of its metrics returns."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from matplotlib.figure import Figure

from caloman_cli.config.figures import FigureSettings
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import FileError, UserError
from caloman_cli.evaluation.statistics import FeatureSource, StatisticsStore
from caloman_cli.evaluation.style import save
from caloman_cli.evaluation.timing import Sampler
from caloman_cli.evaluation.truth import TruthPair, spread
from caloman_cli.metrics.features import Features
from caloman_cli.metrics.protocol import FINAL
from caloman_cli.metrics.protocol import Protocol as Rules
from caloman_cli.metrics.score import Grid, Score
from caloman_cli.published.official import simulation

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

log = logging.getLogger(__name__)

Need = Literal["reference", "generated", "train", "model"]


@dataclass(frozen=True)
class Section:
    """What one metric found.

    Args:
        scores: Numbers for the tables.
        details: Whatever else ``metrics.json`` shall carry, plain types.
        notes: What a reader must know before quoting a number.
        caveats: Why a quantity may not stand among published ones, by its key in
            :data:`caloman_cli.published.quantities.QUANTITIES`.
        conditions: Settings that all scores depend on, see :class:`Score`.
        tables: For the report, by caption, where scores alone are hard to read.
    """

    scores: list[Score]
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    caveats: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, str | float | None] = field(default_factory=dict)
    tables: dict[str, Grid] = field(default_factory=dict)

    def with_conditions(self) -> list[Score]:
        """The scores, each with the section's conditions beside its own."""
        return [
            replace(score, conditions={**self.conditions, **score.conditions})
            for score in self.scores
        ]


@dataclass(frozen=True)
class Drawn:
    """A figure on the disk, with what it shows."""

    path: Path
    caption: str


class Comparison:
    """Generated showers, the reference and the truth, each opened only when a metric asks.

    Args:
        geometry: The showers' geometry.
        device: Where classifiers and models run.
        seed: Of everything random.
        cache_dir: For voxels that do not fit in memory and for features of real showers.
        output: The evaluation's directory; figures go to ``plots/`` in it.
        label: Name of the generated showers.
        protocol: The rules: readout cuts and architectures.
        pictures: Formats of figures, and names in their legends.
        open_reference: Opens the real showers that judge.
        open_generated: Opens the showers to judge, or makes them; None where there are none.
        open_truth: Chooses the truth pair for a reference and a number of showers, or None.
        open_train: Opens the showers that the model learned from.
        count_train: How many of these it was fitted to, where that is known; None: all.
        open_model: Loads the model to time.
    """

    def __init__(
        self,
        geometry: Geometry,
        device: torch.device,
        seed: int,
        cache_dir: Path,
        output: Path,
        label: str,
        protocol: Rules = FINAL,
        pictures: FigureSettings | None = None,
        *,
        open_reference: Callable[[], Showers],
        open_generated: Callable[[], Showers] | None,
        open_truth: Callable[[Showers, int], TruthPair | None],
        open_train: Callable[[], Showers],
        open_model: Callable[[], Sampler],
        count_train: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.geometry, self.device, self.seed = geometry, device, seed
        self.cache_dir, self.output, self.label = cache_dir, output, label
        self.protocol = protocol
        self.pictures = pictures or FigureSettings()
        self.figures: list[Drawn] = []
        self._open_reference, self._open_generated = open_reference, open_generated
        self._open_truth, self._open_train = open_truth, open_train
        self._open_model, self._count_train = open_model, count_train
        self._features = FeatureSource(cache_dir)
        self._thinned: Showers | None = None

    @cached_property
    def reference(self) -> Showers:
        return self._open_reference()

    @property
    def is_judging(self) -> bool:
        """Whether there are generated showers; some metrics look at real ones alone."""
        return self._open_generated is not None

    @cached_property
    def generated(self) -> Showers:
        if self._open_generated is None:
            raise UserError("there are no generated showers: give run=DIR or generated=FILE")
        return self._open_generated()

    def thinned(self, n: int) -> Showers:
        """At most n of the generated showers, spread over all."""
        if self._thinned is None or len(self._thinned) != n:
            self._thinned = spread(self.generated, n)
        return self._thinned

    @cached_property
    def truth(self) -> TruthPair | None:
        """Two independent real samples, the second of the generated sample's size."""
        n = len(self.generated) if self.is_judging else len(self.reference)
        return self._open_truth(self.reference, n)

    @cached_property
    def train(self) -> Showers:
        """What the model learned from.

        Raises:
            UserError: It is not known or not there.
        """
        return self._open_train()

    @cached_property
    def n_train(self) -> int:
        """How many showers the model was fitted to: a run's training split, else the file.

        Raises:
            UserError: The file is not known or not there.
        """
        known = self._count_train()
        return len(self.train) if known is None else known

    @cached_property
    def model(self) -> Sampler:
        return self._open_model()

    @cached_property
    def reference_label(self) -> str:
        """What figures and tables call the reference; Geant4 only where that was said."""
        given = self.pictures.labels.reference
        return simulation(self.reference) if given is None else given

    @property
    def truth_label(self) -> str:
        """What they call independent real showers."""
        given = self.pictures.labels.truth
        return f"independent {self.reference_label}" if given is None else given

    @property
    def model_label(self) -> str:
        """What they call the generated showers."""
        given = self.pictures.labels.model
        return self.label if given is None else given

    def features(
        self, showers: Showers, threshold: float | None = None, edges_of: Features | None = None
    ) -> Features:
        """High-level features, computed once for an evaluation; those of real showers are kept.

        Args:
            showers: Any of this comparison's.
            threshold: Readout cut [MeV]. None: the geometry's.
            edges_of: Features whose maximum ends the voxel histogram. None: these showers' own.

        Raises:
            FileError: Not one of the showers has energy above the cut.
        """
        keep = not any(showers is ours for ours in (self.__dict__.get("generated"), self._thinned))
        found = self._features.of(showers, threshold, edges_of, keep=keep)
        if not (found["E_tot"] > 0).any():
            raise FileError(
                f"{showers.name}: not one of {len(showers)} showers has energy above the readout"
                " cut, so nothing can be compared: look at it with 'caloman data check'"
            )
        return found

    def classifier_features(self, showers: Showers, threshold: float | None = None) -> Features:
        """High-level features after the cut that classifiers and distances apply.

        Args:
            showers: Any of this comparison's.
            threshold: Readout cut [MeV]. None: the protocol's.
        """
        cut = self.protocol.classifier_threshold(self.geometry) if threshold is None else threshold
        pair = self.__dict__.get("truth")
        bases = {} if pair is None else {id(pair.sample): pair.reference}
        bases[id(self.__dict__.get("generated"))] = self.reference
        base = bases.get(id(showers))  # the set that separation powers were computed with
        return self.features(showers, cut, None if base is None else self.features(base, cut))

    @property
    def store(self) -> StatisticsStore:
        """Where statistics of real showers are kept."""
        return self._features.store

    def has(self, what: Literal["reference", "generated", "truth", "train", "model"]) -> bool:
        """Whether a metric has already asked for it, or it is open for another reason."""
        return what in self.__dict__

    def draw(self, stem: str, image: Figure, caption: str) -> None:
        """Write a figure as ``plots/<stem>.png``, which the report shows, and as what is asked."""
        folder = self.output / "plots"
        folder.mkdir(parents=True, exist_ok=True)
        path = save(image, folder / f"{stem}.png", self.pictures.format, self.pictures.dpi)
        self.figures.append(Drawn(path, caption))


class Metric(Protocol):
    """One component of a suite: an ``evaluation/*.yaml`` names it and its settings."""

    needs: ClassVar[tuple[Need, ...]]

    def __call__(self, comparison: Comparison) -> Section: ...


@runtime_checkable
class Particular(Protocol):
    """A metric that not every model can answer, which is asked before anything is drawn."""

    def require(self, model: "TwoStep") -> None:
        """Raise a UserError where the model cannot."""
