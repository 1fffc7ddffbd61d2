"""What judges say of a model's showers, and of those without what its latents say."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from caloman_cli.config.options import option_of
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.carried import carried
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.replaced import Replacement, Way
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.classifier.tree_test import TreeTest
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
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
_IN_MEMORY = 1 << 28  # voxels of a sample: 1 GiB


class AUC(NamedTuple):
    """An AUC and its statistical error."""

    value: float
    error: float

    def over(self, other: "AUC") -> tuple[float, float]:
        """How much more than another, and the error of that, as if they were independent."""
        return self.value - other.value, float(np.hypot(self.error, other.error))


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

    def aucs(self) -> dict[str, dict[str, AUC]]:
        """By judge, then by rival."""
        found: dict[str, dict[str, AUC]] = {}
        reference = spread(self.comparison.reference, self.most)
        pair = self.comparison.truth

        def judged(rival: str, real: Showers, showers: Showers) -> None:
            for judge in self.judges:
                for name, auc in self._judged(judge, real, showers).items():
                    found.setdefault(name, {})[rival] = auc

        if pair is not None:
            judged("truth", spread(pair.reference, self.most), spread(pair.sample, self.most))
        judged("model", reference, spread(self.comparison.generated, self.most))
        total = len(self.comparison.reference)
        index = np.arange(len(reference)) * total // len(reference)
        replacement = Replacement(
            self.model, self.comparison.reference.energies, self.comparison.seed
        )
        for way in get_args(Way):
            showers = replacement.showers(way, self.comparison.reference, index)
            judged(way, reference, showers)
        if self.without is not None:
            judged("without", reference, self._sampled(self.without, reference))
        else:
            self.notes.append(
                "Not beside the same model trained without latents: train it with encoder=none "
                "and give evaluation.ledger.without=RUN."
            )
        return found

    def scores(self, aucs: dict[str, dict[str, AUC]], section: str) -> list[Score]:
        """Of each judge the rivals, and what the model loses without latents."""
        scores = []
        for judge, found in aucs.items():
            truth = found.get("truth")
            for rival, auc in found.items():
                if rival == "truth":
                    continue
                own = rival == "model"
                key = f"ledger_auc_{judge}" + ("" if own else f"_{rival}")
                scores.append(
                    Score(section, f"AUC {JUDGES[judge]}, {WORDS[rival]}", auc.value,
                          truth.value if own and truth else None, spread=auc.error,
                          truth_spread=truth.error if own and truth else None,
                          summary=judge.startswith(self.judges[0]), key=key,
                          goal="half" if own else "higher")
                )  # fmt: skip
            if "without" in found:
                lost, error = found["without"].over(found["model"])
                asked = "asked: 0.10 or more" if judge == "trees" else ""
                scores.append(
                    Score(section, f"AUC {JUDGES[judge]}, without latents less with them", lost,
                          spread=error, summary=judge.startswith(self.judges[0]), note=asked,
                          key=f"ledger_lost_{judge}", goal="higher")
                )  # fmt: skip
        return scores

    def _judged(self, judge: Judge, real: Showers, showers: Showers) -> dict[str, AUC]:
        """What a judge says; trees also of what is around the axis alone, where there is that."""
        comparison = self.comparison
        if judge != "trees":
            rules = comparison.protocol.name
            test = ClassifierTest(judge, "small", seed=comparison.seed, protocol=rules)
            device, cache = comparison.device, comparison.cache_dir
            said = test(real, showers, device=device, cache_dir=cache)
            return {judge: AUC(said["auc"], said["auc_error"])}
        cut = comparison.protocol.classifier_threshold(comparison.geometry)
        said = TreeTest(seed=comparison.seed)(real, showers, threshold=cut)
        found = {judge: said, "trees_around_axis": said["groups"].get("around_axis")}
        return {name: AUC(one["auc"], one["auc_error"]) for name, one in found.items() if one}

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
