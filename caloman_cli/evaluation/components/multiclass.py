"""Which of several generators real showers look most like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.config.values import Count
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.style import (
    GENERATED,
    MAPPING,
    REFERENCE_EDGE,
    SECOND,
    TRUTH,
    colour_map,
    figure,
    house_style,
)
from caloman_cli.metrics.classifier.inputs import Mode
from caloman_cli.metrics.classifier.multiclass import MulticlassTest
from caloman_cli.metrics.classifier.training import Preset
from caloman_cli.metrics.score import Score, key_of

SECTION = "log-posterior"
REAL = "independent real showers"
_CAPTION = (
    "Left: the mean log-posterior of each generator, given real showers, which the network has "
    "not learned from; dotted: an even guess. Right: the mean posterior of a column's generator, "
    "given the showers of a row, none of them learned from."
)


class Multiclass:
    """Log-posteriors of the generated showers and of other submissions, by real showers.

    Args:
        others: HDF5 files of the other submissions, with the same geometry.
        mode: Inputs: ``low``, ``low_normed``, ``high`` or ``resnet``.
        preset: ``official``, ``small``, or ``auto`` for small below 20,000 showers of each.
        units: Width of the hidden layers, in place of the preset's.
        epochs: Number of epochs, in place of the preset's.
        repeats: Number of trainings; the published tables use 10.
        with_truth: Whether the truth sample competes too: it shows the best possible score.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        others: list[Path],
        mode: Mode = "low",
        preset: Preset = "auto",
        units: Count | None = None,
        epochs: Count | None = None,
        repeats: Count = 1,
        with_truth: bool = True,
    ) -> None:
        if not others:
            raise UserError(
                "the log-posterior compares two or more submissions: give "
                "evaluation.multiclass.others=[FILE,...]"
            )
        self.others, self.with_truth, self.mode = others, with_truth, mode
        self.settings = (mode, preset, units, epochs)
        self.repeats = repeats
        MulticlassTest(*self.settings, repeats=repeats)  # refuses wrong settings before any work

    def __call__(self, comparison: Comparison) -> Section:
        rivals = self._rivals(comparison)
        test = MulticlassTest(
            *self.settings,
            repeats=self.repeats,
            seed=comparison.seed,
            protocol=comparison.protocol.name,
        )
        found = test(
            comparison.reference,
            rivals,
            device=comparison.device,
            cache_dir=comparison.cache_dir,
        )
        said = {comparison.label: comparison.model_label, REAL: comparison.truth_label}
        colours = {comparison.label: GENERATED, REAL: TRUTH}
        image = multiclass_figure(found, said, colours, comparison.reference_label)
        comparison.draw("multiclass", image, _CAPTION)
        real = found["log_posterior"].get(REAL)
        key = "log-posterior resnet" if self.mode == "resnet" else "log-posterior"
        scores = []
        for name, value in found["log_posterior"].items():
            if name == REAL:
                continue
            mine = name == comparison.label
            scores.append(
                Score(
                    SECTION,
                    key if mine else f"{key} of {name}",
                    value["mean"],
                    None if real is None else real["mean"],
                    spread=_spread(value),
                    truth_spread=None if real is None else _spread(real),
                    summary=mine,
                    key=key_of(key, *([] if mine else ["of", name])),
                    goal="higher",
                )
            )
        note = (
            f"Log-posterior ({self.mode}): mean over {found['n_reference']:,} real showers of the "
            f"log-probability of each of {len(rivals)} generators; an even guess is "
            f"{found['uniform']:.3f}, higher is better; truth: {REAL} as one more generator. "
            "It depends on who competes."
        )
        caveat = "the competitors are not those of the challenge"
        used = {
            "inputs": self.mode,
            "preset": found["preset"],
            "units": found["units"],
            "epochs": found["epochs"],
            "trainings": self.repeats,
            "rivals": " and ".join(sorted(name for name in rivals if name != comparison.label)),
        }
        return Section(scores, found, [note], {key: caveat}, used)

    def _rivals(self, comparison: Comparison) -> dict[str, Showers]:
        rivals = {comparison.label: comparison.generated}
        for path in map(Path, self.others):
            name = path.stem
            if name in rivals:
                raise UserError(f"two submissions are called {name}: rename a file")
            rivals[name] = Showers.from_files([path], comparison.geometry)
        pair = comparison.truth
        # Half of the reference competes in the place of an independent sample only where the
        # network is not asked about it.
        if self.with_truth and pair is not None and pair.reference is comparison.reference:
            rivals[REAL] = pair.sample
        return rivals


def _spread(value: dict[str, float | None]) -> float | None:
    return value["error"] if value["std"] is None else value["std"]


def multiclass_figure(
    found: Mapping[str, Any],
    said: Mapping[str, str],
    colours: Mapping[str, str],
    reference: str,
) -> Figure:
    """Log-posteriors of all generators, and posteriors by whose showers are asked about.

    Args:
        found: What :class:`caloman_cli.metrics.classifier.multiclass.MulticlassTest` returns.
        said: What generators are called, where that is not their name.
        colours: Of generators that are not one of the others.
        reference: What the real showers that judge are called.
    """
    names = found["classes"]
    words = [said.get(name, name) for name in names]
    with house_style():
        wide = 3.4 + 0.5 * len(names) + 0.08 * max(map(len, [reference, *words]))
        image = figure(wide, 1.3 + 0.36 * len(names), "constrained")
        left, right = image.subplots(1, 2, sharey=True, width_ratios=[3, 0.8 + 0.5 * len(names)])
        for place, name in enumerate(names, start=1):
            value = found["log_posterior"][name]
            left.errorbar(
                value["mean"], place, xerr=_spread(value), color=colours.get(name, SECOND),
                marker="o", linestyle="", capsize=2,
            )  # fmt: skip
        left.axvline(found["uniform"], color=REFERENCE_EDGE, linewidth=0.9, linestyle=":")
        left.locator_params(axis="x", nbins=4)
        left.set_xlabel(f"mean log-posterior, {reference}")
        _matrix(right, np.array(found["posteriors"]))
        numbers = [str(number) for number in range(1, len(words) + 1)]
        numbered = [f"{word}  {number}" for word, number in zip(words, numbers, strict=True)]
        left.set_yticks(range(len(words) + 1), labels=[reference, *numbered])
        right.set_xticks(range(len(words)), labels=numbers)
        right.set_xlabel("mean posterior of")
        left.tick_params(which="both", right=False)
        right.tick_params(which="both", length=0)
        return image


def _matrix(ax: Axes, posteriors: np.ndarray) -> None:
    """Posteriors (K + 1, K) as colours and numbers; real showers, the first row, stand apart."""
    ax.imshow(posteriors, cmap=colour_map(MAPPING), vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(posteriors):
        ax.text(
            column, row, f"{value:.2f}", ha="center", va="center", fontsize=8,
            color="black" if value > 0.6 else "white",
        )  # fmt: skip
    ax.axhline(0.5, color="white", linewidth=3)
