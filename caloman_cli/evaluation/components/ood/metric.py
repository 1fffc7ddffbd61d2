"""Showers that are not of the dataset, told by log p and local dimension together."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import torch

from caloman_cli.config.values import Count, Positive, Several, Share, checked
from caloman_cli.data.showers import Showers
from caloman_cli.errors import FileError, UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.components.ood.pages import caption, note, ood_figure
from caloman_cli.evaluation.components.ood.told import Told, plain
from caloman_cli.evaluation.latents import denoiser_of, encoded
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.lid import LocalDimension, TakesNoiseOff, time_of
from caloman_cli.metrics.ood import DualTest, at_equal_energy
from caloman_cli.metrics.ood_sets import Distortion, SetName
from caloman_cli.metrics.score import Score, key_of
from caloman_cli.runs.progress import RowsDone

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

_SECTION = "out of distribution"
_BLOCK = 32  # showers at once
_DUAL = {"dual": "dual AUC", "both_sides": "dual AUC, both sides"}
_ALONE = {
    "log_prob": "AUC of log p", "lid": "AUC of local dimension",
    "reconstruction": "AUC of reconstruction",
}  # fmt: skip


@checked
class OOD:
    """The dual test of log p and local dimension against sets of showers that it should refuse.

    Args:
        sets: See :class:`~caloman_cli.metrics.ood_sets.Distortion`; made of the reference.
        files: Files of other showers in the same voxels.
        factor: See :class:`~caloman_cli.metrics.ood_sets.Distortion`.
        layer: See there.
        noise: Over the signal, of the local dimension.
        by_energy: Whether to compare with training showers of like incident energy.
        quantile: Of training showers, below each of the thresholds that need no labels.
        draws: Of latents for each log p, where the posterior has a density.
        max_showers: Of each set, spread over it.

    References:
        Kamkari et al. (2024), arXiv:2403.18910.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "train", "model")

    def __init__(
        self,
        sets: list[SetName],
        files: list[str],
        factor: Positive = 2.0,
        layer: int | None = None,
        noise: Positive = 0.03,
        by_energy: bool = True,
        quantile: Share = 0.05,
        draws: Count = 4,
        max_showers: Several = 300,
    ) -> None:
        if not sets and not files:
            raise UserError("ood.sets=[] and ood.files=[]: name a set or give a file")
        self.sets, self.files, self.noise = sets, files, noise
        self.distortion, self.by_energy = Distortion(factor, layer), by_energy
        self.draws, self.max_showers = draws, max_showers
        self.dimension, self.test = LocalDimension(), DualTest(quantile)

    def require(self, model: "TwoStep") -> None:
        denoiser_of(model, "evaluation=ood")

    def __call__(self, comparison: Comparison) -> Section:
        model = cast("TwoStep", comparison.model)
        denoiser = denoiser_of(model, "evaluation=ood")
        self.dimension.seed = self.test.seed = comparison.seed
        real = spread(comparison.reference, self.max_showers)
        outside, left = self._outside(comparison, real)
        learned = spread(comparison.train, self.max_showers)
        t0 = time_of(denoiser, self.noise, model.preprocess.conditions.mean)
        train = self._told(model, denoiser, learned, t0, comparison)
        train = train._replace(values=self._compared(train, train))

        def told(showers: Showers) -> Told:
            found = self._told(model, denoiser, showers, t0, comparison)
            return found._replace(values=self._compared(train, found))

        inside = told(real)
        others = {name: told(showers) for name, showers in outside.items()}
        areas = {
            name: self.test(train.values, inside.values, other.values)
            for name, other in others.items()
        }
        limits = self.test.thresholds(train.values)
        labels = comparison.reference_label, comparison.model_label
        image = ood_figure(inside, others, limits, labels)
        comparison.draw("ood", image, caption(self.by_energy))
        used: dict[str, str | float | None] = {
            "noise": self.noise, "showers at most": self.max_showers,
            "factor": self.distortion.factor, "layer": self.distortion.layer, "draws": self.draws,
            "quantile": self.test.quantile, "by energy": str(self.by_energy),
        }  # fmt: skip
        details = {
            "t": t0,
            "areas": areas,
            "showers": {
                name: plain(found) for name, found in {"reference": inside, **others}.items()
            },
        }
        return Section(
            self._scores(train, inside, others, areas),
            details,
            [note(model, self.noise, self.test.quantile, self.by_energy), *left],
            conditions=used,
        )

    def _outside(
        self, comparison: Comparison, real: Showers
    ) -> tuple[dict[str, Showers], list[str]]:
        """The sets by name, and why some were left out."""
        found, left = {}, []
        for name in self.sets:
            try:
                found[str(name)] = self.distortion(name, real)
            except UserError as error:
                left.append(f"Out of distribution, set {name} left out: {error}.")
        for given in self.files:
            try:
                other = Showers.from_files([Path(given)], comparison.geometry)
            except FileError as error:
                raise FileError(
                    f"ood.files: {error}; a model can only be asked about showers in its own "
                    f"voxels, those of {comparison.geometry.name}"
                ) from error
            found[Path(given).stem] = spread(other, self.max_showers)
        if not found:
            raise UserError(f"no set is left: {' '.join(left)}")
        return found, left

    def _told(
        self,
        model: "TwoStep",
        denoiser: TakesNoiseOff,
        showers: Showers,
        t0: float,
        comparison: Comparison,
    ) -> Told:
        log_p, errors, name = [], [], f"log p of {showers.name}"
        with torch.no_grad(), RowsDone(name, len(showers), "shower") as progress:
            for number, (energies, voxels) in enumerate(showers.iterate(_BLOCK)):
                rows, e_inc = (
                    torch.as_tensor(part, dtype=torch.float32, device=comparison.device)
                    for part in (voxels, energies)
                )
                try:
                    found = model.log_prob(rows, e_inc, self.draws, comparison.seed + number)
                except FloatingPointError as error:
                    raise UserError(f"{showers.name}: {error}") from error
                log_p.append(found.double().cpu().numpy())
                errors.append(model.reconstruction_error(rows, e_inc).double().cpu().numpy())
                progress.add(len(rows))
        u, c = encoded(model, showers, comparison.device, comparison.seed)
        dimension = self.dimension.flipd(denoiser, u, c, t0)
        raw = np.stack([np.concatenate(log_p), dimension, -np.concatenate(errors)], 1)
        return Told(raw, showers.energies[:, 0], raw)

    def _compared(self, train: Told, found: Told) -> np.ndarray:
        if not self.by_energy:
            return found.raw
        return at_equal_energy(train.raw, train.energies, found.raw, found.energies)

    def _scores(
        self,
        train: Told,
        inside: Told,
        others: dict[str, Told],
        areas: dict[str, dict[str, float]],
    ) -> list[Score]:
        kept, n = self.test.accepted(train.values, inside.values), len(inside.values)
        words = {
            "pair": "log p and local dimension", "triple": "and reconstruction",
            "both_sides": "both sides",
        }  # fmt: skip
        scores = [
            Score(
                _SECTION, f"real accepted, {words[kind]}", kept[kind], summary=kind != "triple",
                spread=_binomial(kept[kind], n), key=f"ood_true_positive_{kind}", goal="higher",
                note=f"without the outer {100 * self.test.quantile:g} % of training showers, each",
            )
            for kind in words
        ]  # fmt: skip
        null = "{:.3f} where nothing differs"
        for name, found in areas.items():
            taken = self.test.accepted(train.values, others[name].values)
            scores += [
                Score(
                    _SECTION, f"{name}: {said}", found[column], spread=found[f"{column}_error"],
                    summary=column in _DUAL, key=key_of("ood", column, name), goal="higher",
                    note=null.format(found["dual_null"]) if column in _DUAL else "",
                )
                for column, said in {**_DUAL, **_ALONE}.items()
            ]  # fmt: skip
            scores += [
                Score(
                    _SECTION, f"{name}: accepted, {words[kind]}", taken[kind],
                    spread=_binomial(taken[kind], len(others[name].values)),
                    key=key_of("ood_false_positive", kind, name), goal="lower",
                )
                for kind in words
            ]  # fmt: skip
        return scores


def _binomial(share: float, n: int) -> float:
    """Error of a share; of none or all, what one shower more would make."""
    return float(max(np.sqrt(share * (1 - share) / n), 1 / n))
