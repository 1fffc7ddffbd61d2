"""What judges and distances say of a model's showers, and of those without its latents."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from caloman_cli.config.options import option_of
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.carried import carried
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.components.ledger.distances import (
    Side,
    Value,
    frechet,
    separations,
)
from caloman_cli.evaluation.replaced import Replacement, Way
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.classifier.tree_table import tree_table
from caloman_cli.metrics.classifier.tree_test import TreeTest
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
from caloman_cli.metrics.goals import Goal
from caloman_cli.metrics.score import Score

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

Judge = Literal["trees", "high", "low"]
JUDGES = {
    "trees": "trees",
    "trees_around_axis": "trees around the axis",
    "high": "high",
    "low": "low",
}
WORDS = {
    "truth": "real showers",
    "model": "the model",
    "independent": "latents replaced by independent draws",
    "mean": "latents replaced by their mean",
    "without": "trained without latents",
}
FPD = "FPD, bias taken off"
_IN_MEMORY = 1 << 28  # voxels of a sample: 1 GiB


class Said(NamedTuple):
    """What is said of each rival.

    Args:
        aucs: By judge, then by rival.
        fpd: By rival.
        separation: By group of histograms, then by rival.
    """

    aucs: dict[str, dict[str, Value]]
    fpd: dict[str, Value]
    separation: dict[str, dict[str, Value]]

    def details(self) -> dict[str, Any]:
        """As ``metrics.json`` holds it."""

        def plain(found: dict[str, Value]) -> dict[str, dict[str, float]]:
            return {rival: value._asdict() for rival, value in found.items()}

        return {
            "auc": {judge: plain(found) for judge, found in self.aucs.items()},
            "fpd": plain(self.fpd),
            "separation": {group: plain(found) for group, found in self.separation.items()},
        }


class Rivals:
    """Showers of a model and of those that lack its latents, before the same judges.

    Args:
        model: The run's.
        comparison: Its showers.
        judges: Who judges.
        without: The model file of the same model trained without latents.
        most: Showers of each set, spread over it.

    Attributes:
        notes: What a reader has to know.
        other: What is known of ``without``: its latents, and in what its config differs.
    """

    def __init__(
        self,
        model: "TwoStep",
        comparison: Comparison,
        judges: list[Judge],
        without: Path | None,
        most: int,
    ) -> None:
        self.model, self.comparison, self.without = model, comparison, without
        self.most = max(100, min(most, _IN_MEMORY // comparison.geometry.n_voxels))
        self.notes: list[str] = []
        self.other: dict[str, Any] | None = None
        self.judges = judges

    def said(self) -> Said:
        """What judges and distances say of each, of showers that are drawn once."""
        said, rules, pair = Said({}, {}, {}), self.comparison.protocol, self.comparison.truth

        def judged(rival: str, real: Side, showers: Showers) -> None:
            side = Side.of(showers, rules)
            for judge in self.judges:
                for name, auc in self._judged(judge, real, side).items():
                    said.aucs.setdefault(name, {})[rival] = auc
            said.fpd[rival] = frechet(real, side)
            for group, power in separations(real, side).items():
                said.separation.setdefault(group, {})[rival] = power

        if pair is not None:
            real = Side.of(spread(pair.reference, self.most), rules)
            judged("truth", real, spread(pair.sample, self.most))
        reference = spread(self.comparison.reference, self.most)
        real = Side.of(reference, rules)
        judged("model", real, spread(self.comparison.generated, self.most))
        total = len(self.comparison.reference)
        index = np.arange(len(reference)) * total // len(reference)
        replacement = Replacement(
            self.model, self.comparison.reference.energies, self.comparison.seed
        )
        for way in get_args(Way):
            judged(way, real, replacement.showers(way, self.comparison.reference, index))
        if self.without is not None:
            judged("without", real, self._sampled(self.without, reference))
        else:
            self.notes.append(
                "Not beside the same model trained without latents: train it with encoder=none "
                "and give evaluation.ledger.without=RUN."
            )
        return said

    def scores(self, said: Said, section: str) -> list[Score]:
        """Of each judge and of FPD the rivals, and what the model loses without latents."""
        scores = []
        for judge, found in said.aucs.items():
            asked = "asked: 0.10 or more" if judge == "trees" else ""
            first = judge.startswith(self.judges[0])
            label = f"AUC {JUDGES[judge]}"
            scores += _rows(section, label, f"auc_{judge}", found, "half", first, asked)
        return [*scores, *_rows(section, FPD, "fpd", said.fpd, "zero", True)]

    def _judged(self, judge: Judge, real: Side, side: Side) -> dict[str, Value]:
        """What a judge says; trees also of what is around the axis alone, where there is that."""
        comparison = self.comparison
        if judge != "trees":
            rules = comparison.protocol.name
            test = ClassifierTest(judge, "small", seed=comparison.seed, protocol=rules)
            device, cache = comparison.device, comparison.cache_dir
            known = (real.features, side.features)
            said = test(real.showers, side.showers, device=device, cache_dir=cache, features=known)
            return {judge: Value(said["auc"], said["auc_error"])}
        trees, cut = TreeTest(seed=comparison.seed), real.features.threshold
        first, second = trees.rows(real.showers, side.showers)
        tables = (
            tree_table(real.showers, cut, real.features, first),
            tree_table(side.showers, cut, side.features, second),
        )
        said = trees(real.showers, side.showers, threshold=cut, tables=tables)
        found = {judge: said, "trees_around_axis": said["groups"].get("around_axis")}
        return {name: Value(one["auc"], one["auc_error"]) for name, one in found.items() if one}

    def _sampled(self, path: Path, reference: Showers) -> Showers:
        """The showers of the model without latents, for the same energies."""
        from caloman_cli.runs import sampling

        geometry, seed = reference.geometry, self.comparison.seed
        model, _ = sampling.loaded(path, self.comparison.device)
        if model.geometry.layers != geometry.layers:
            raise UserError(
                f"evaluation.ledger.without={path.parent}: a model of {model.geometry.name} with "
                f"{model.geometry.n_voxels} voxels, the reference is {geometry.name} with "
                f"{geometry.n_voxels}: train one of the same detector, with encoder=none"
            )
        rows = carried(model, spread(reference, 2000), self.comparison.device, seed)
        nats = rows.learned_nats
        said = "unknown" if nats is None else f"{float(nats.mean()):.2g}"
        parts = {
            part: [option_of(part, getattr(side, part)) for side in (self.model, model)]
            for part in ("energy", "encoder", "density", "calibration")
        }
        parts["head"] = [option_of("head", side.encoder.head) for side in (self.model, model)]
        apart = [f"{part} {ours} -> {theirs}"
                 for part, (ours, theirs) in parts.items() if ours != theirs]  # fmt: skip
        self.other = {
            "run": str(path.parent), "in use": rows.active_learned, "learned": rows.n_learned,
            "moments": model.encoder.head.moment_dim,
            "nats": None if nats is None else float(nats.mean()), "other parts": apart,
        }  # fmt: skip
        self.notes.append(
            f"Trained without latents: {path.parent}, {rows.active_learned} of {rows.n_learned} "
            f"learned latents in use, {said} nats, {model.encoder.head.moment_dim} moments; other "
            f"parts: {', '.join(apart) or 'none'}."
        )
        voxels = [
            part.cpu().numpy()
            for _, part in sampling.drawn(model, reference.energies, seed=seed, batch_size=10_000)
        ]
        return Showers.from_arrays(
            reference.energies, np.concatenate(voxels), geometry, "without latents"
        )


def _rows(
    section: str,
    label: str,
    key: str,
    found: dict[str, Value],
    best: Goal,
    summary: bool,
    asked: str = "",
) -> list[Score]:
    """A row a rival, and one of what is lost without latents."""
    scores, truth = [], found.get("truth")
    for rival, value in found.items():
        if rival == "truth":
            continue
        own = rival == "model"
        scores.append(
            Score(section, f"{label}, {WORDS[rival]}", value.value,
                  truth.value if own and truth else None, spread=value.error,
                  truth_spread=truth.error if own and truth else None, summary=summary,
                  key=f"ledger_{key}" + ("" if own else f"_{rival}"),
                  goal=best if own else "higher")
        )  # fmt: skip
    if "without" in found:
        lost, error = found["without"].over(found["model"])
        scores.append(
            Score(section, f"{label}, without latents less with them", lost, spread=error,
                  note=asked, summary=summary, key=f"ledger_lost_{key.removeprefix('auc_')}",
                  goal="higher")
        )  # fmt: skip
    return scores
