"""Which of several generators real showers look most like."""

from pathlib import Path
from typing import ClassVar

from caloman_cli.config.values import Count
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.metrics.classifier.inputs import Mode
from caloman_cli.metrics.classifier.multiclass import MulticlassTest
from caloman_cli.metrics.classifier.training import Preset
from caloman_cli.metrics.score import Score, key_of

SECTION = "log-posterior"
REAL = "independent real showers"


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
