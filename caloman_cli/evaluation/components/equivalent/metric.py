"""How many Geant4 showers a model is worth, beside how many it learned from."""

from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from caloman_cli.config.values import NotNegative, Several
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.components.equivalent.curves import CAPTION, NumberCurves, ks_figure
from caloman_cli.evaluation.components.equivalent.rows import (
    Part,
    band_grid,
    band_scores,
    details,
    feature_grid,
    feature_scores,
)
from caloman_cli.evaluation.truth import shared_showers
from caloman_cli.metrics.classifier.bands import energy_bands
from caloman_cli.metrics.equivalent import ALL, FEWEST, EquivalentShowers, Table, table
from caloman_cli.metrics.ks_curve import crossing, ks_curve

IN_A_BAND = 1000  # showers of each side that a band of incident energy needs


class EquivalentOfShowers:
    """How many real showers have statistical errors as large as the model's bias.

    Args:
        thresholds: Quantiles of a feature at which distribution functions are compared.
        blocks: Disjoint parts of the showers, which give the errors.
        bands: Whether to say it in bands of incident energy, too.
        plot: Whether to draw distances against the number of showers.
        threshold: Readout cut [MeV]. None: the protocol's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated", "train")

    def __init__(
        self,
        thresholds: Several = 100,
        blocks: Annotated[int, Ge(10), Le(200)] = 50,
        bands: bool = True,
        plot: bool = True,
        threshold: NotNegative | None = None,
    ) -> None:
        self.test = EquivalentShowers(thresholds, blocks)
        self.bands, self.plot, self.threshold = bands, plot, threshold

    def __call__(self, comparison: Comparison) -> Section:
        self.test.seed = comparison.seed
        self._refuse_shared(comparison)
        pair = comparison.truth
        sides = [self._table(comparison, x) for x in (comparison.reference, comparison.generated)]
        truth = None
        if pair is not None:
            truth = [self._table(comparison, x) for x in (pair.reference, pair.sample)]
        whole = self._part("all energies", comparison.n_train, sides, truth)
        bands = self._bands(comparison, sides, truth) if self.bands else []
        curves, notes = self._curves(comparison, sides)
        note = "" if pair is None else pair.note
        scores = feature_scores(whole, curves, note)
        tables = {"Equivalent showers by feature": feature_grid(whole, curves)}
        if bands:
            scores += band_scores(bands, note)
            tables["Equivalent showers by incident energy"] = band_grid(bands)
        if self.plot and curves is not None:
            labels = comparison.reference_label, comparison.model_label
            image = ks_figure(curves, whole.ours[ALL], whole.trained, labels)
            comparison.draw("equivalent_showers", image, CAPTION)
        return Section(
            scores,
            details(whole, curves, bands),
            notes,
            conditions={"readout cut": self.threshold, "thresholds": self.test.thresholds},
            tables=tables,
        )

    def _table(self, comparison: Comparison, showers: Showers) -> Table:
        return table(comparison.classifier_features(showers, self.threshold))

    def _refuse_shared(self, comparison: Comparison) -> None:
        held, known = (
            comparison.classifier_features(x, self.threshold)
            for x in (comparison.reference, comparison.train)
        )
        if shared := shared_showers(held, known):
            raise UserError(
                f"{shared:,} showers of the training file are in the reference: equivalent "
                "showers need held-out ones, give reference=FILE"
            )

    def _part(
        self, words: str, trained: float, sides: list[Table], truth: list[Table] | None
    ) -> Part:
        real = None
        if truth is not None and min(map(len, truth)) >= FEWEST:
            real = self.test(*truth)
        return Part(words, len(sides[0]), len(sides[1]), trained, self.test(*sides), real)

    def _curves(
        self, comparison: Comparison, sides: list[Table]
    ) -> tuple[NumberCurves | None, list[str]]:
        """Distances against numbers, and what a reader must know of both yardsticks."""
        note = (
            "Equivalent showers: as many real showers have statistical errors as large as the "
            "model's bias, at the reference's incident energies."
        )
        pair = comparison.truth
        others = comparison.train if pair is None or pair.halves else pair.sample
        try:
            real, made = (
                ks_curve(sides[0], one, comparison.seed)
                for one in (self._table(comparison, others), sides[1])
            )
        except UserError as error:
            return None, [note, f"Without KS against the number of showers: {error}."]
        meet = {key: crossing(real, made, key) for key in real.groups}
        return NumberCurves(real, made, meet), [
            f"{note} By KS: where real showers of {others.name} have the mean distance of the "
            f"{len(sides[1]):,} generated ones, whose statistical errors count."
        ]

    def _bands(
        self, comparison: Comparison, sides: list[Table], truth: list[Table] | None
    ) -> list[Part]:
        """The same at incident energies of a few bands; none where there is but one."""
        bands = energy_bands(sides[0].energies, sides[1].energies, fewest=IN_A_BAND)
        if len(bands) == 1:
            return []
        known = bands.of(comparison.train.energies[:, 0])
        found = []
        for place, words in enumerate(bands.words):
            here, beside = (
                None if some is None
                else [one.subset(bands.of(one.energies) == place) for one in some]
                for some in (sides, truth)
            )  # fmt: skip
            assert here is not None
            trained = comparison.n_train * float(np.mean(known == place))
            found.append(self._part(words, trained, here, beside))
        return found
