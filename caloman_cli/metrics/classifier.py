r"""A classifier tries to tell generated showers from real ones; its AUC says how well it can.

The official network: three hidden layers of 2048 units, LeakyReLU, binary cross-entropy, Adam.
The epoch with the best accuracy on the "test" split is kept, isotonic regression calibrates its
scores there, and the "val" split gives the result: the AUC of the calibrated scores, and the
Jensen-Shannon divergence in bits :math:`1 - \mathrm{BCE} / \ln 2`. Label 1 is the real shower.

References:
    Krause, Shih (2021), CaloFlow, arXiv:2106.05285 (classifier test). Krause et al. (2024),
    CaloChallenge 2022, arXiv:2410.21611 (architecture, splits). Hanley, McNeil (1982), The
    meaning and use of the area under a ROC curve (its standard error).
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn
from tqdm import tqdm

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier_inputs import MODES, ClassifierRows, Mode, classifier_rows
from caloman_cli.metrics.classifier_splits import Split, draw_split, matched_rows, split_sizes

log = logging.getLogger(__name__)

PRESETS = {"official": (2048, 50), "small": (512, 25)}  # units, epochs
SMALL_BELOW = 20_000  # showers per class: fewer do not fill the official network
ROC_POINTS = 201


class ClassifierTest:
    """Train a binary classifier on two sets of showers and score it.

    Args:
        mode: ``low`` (voxels), ``low_normed`` (voxels over layer energies) or ``high`` (features).
        preset: ``official`` (2048 units, 50 epochs), ``small`` (512 units, 25 epochs) or ``auto``:
            small below 20,000 showers per class.
        units: Width of the hidden layers, in place of the preset's.
        epochs: Number of epochs, in place of the preset's.
        learning_rate: Of Adam.
        batch_size: Rows of a step.
        repeats: Number of trainings with new splits and weights.
        seed: Of weights, splits and batches.
        threshold: Readout cut [MeV]. None: the geometry's.
        uncut_voxels: Follow the official script in leaving ``low_normed`` voxels uncut.
    """

    def __init__(
        self,
        mode: Mode = "low",
        preset: str = "auto",
        units: int | None = None,
        epochs: int | None = None,
        learning_rate: float = 2e-4,
        batch_size: int = 1000,
        repeats: int = 1,
        seed: int = 0,
        threshold: float | None = None,
        uncut_voxels: bool = False,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"classifier mode is '{mode}', must be one of {', '.join(MODES)}")
        if preset not in ("auto", *PRESETS):
            raise UserError(
                f"classifier preset is '{preset}', must be auto or {' or '.join(PRESETS)}"
            )
        for name, value in (("units", units), ("epochs", epochs), ("repeats", repeats)):
            if value is not None and value < 1:
                raise UserError(f"classifier {name} is {value}, must be 1 or more")
        self.mode, self.preset, self.units, self.epochs = mode, preset, units, epochs
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.repeats, self.seed = repeats, seed
        self.threshold, self.uncut_voxels = threshold, uncut_voxels

    def __call__(
        self,
        reference: Showers,
        generated: Showers,
        *,
        device: torch.device | str = "cpu",
        cache_dir: Path | None = None,
    ) -> dict[str, Any]:
        """Train ``repeats`` classifiers.

        Args:
            reference: Real showers (label 1).
            generated: Showers to judge (label 0).
            device: Where to train.
            cache_dir: Where voxels that do not fit in memory are mapped.

        Returns:
            Means over repeats ``auc``, ``auc_raw`` (before calibration), ``jsd`` [bits],
            ``accuracy``; ``auc_std`` and ``jsd_std`` over repeats (None for one);
            ``auc_error``, the statistical error of one repeat's AUC; ``n_train``, ``n_test``,
            ``n_val`` (both classes together), ``units``, ``epochs``, ``parameters``; ``repeats``,
            a list of each one's scores; ``roc`` with ``fpr`` and ``tpr`` of the first repeat.

        Raises:
            UserError: A class has fewer than 100 showers, or the voxels differ.
        """
        selected = matched_rows(reference, generated)
        n = len(selected[0])
        preset = self.preset
        if preset == "auto":
            preset = "small" if n < SMALL_BELOW else "official"
        units, epochs = self.units or PRESETS[preset][0], self.epochs or PRESETS[preset][1]
        sizes = split_sizes(n, reference.geometry if preset == "official" else None)
        if n < SMALL_BELOW:
            log.warning(
                "classifier '%s': %d showers per class; an AUC of 0.5 has an error of %.3f",
                self.mode,
                n,
                auc_error(0.5, n - sum(sizes)),
            )
        where = torch.device(device)
        source = classifier_rows(
            self.mode,
            (reference, generated),
            selected,
            where,
            cache_dir,
            threshold=self.threshold,
            uncut_voxels=self.uncut_voxels,
        )
        runs, roc = [], None
        for repeat in range(self.repeats):
            scores, curve = self._once(source, n, sizes, units, epochs, repeat, where)
            runs.append(scores)
            roc = roc or curve
        n_val = n - sum(sizes)
        return {
            **_summary(runs, n_val),
            "n_train": 2 * sizes[0],
            "n_test": 2 * sizes[1],
            "n_val": 2 * n_val,
            "preset": preset,
            "units": units,
            "epochs": epochs,
            "parameters": parameter_count(source.width, units),
            "repeats": runs,
            "roc": roc,
        }

    def _once(
        self,
        source: ClassifierRows,
        n: int,
        sizes: tuple[int, int],
        units: int,
        epochs: int,
        repeat: int,
        device: torch.device,
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        """One training: scores and the ROC curve."""
        rng = np.random.default_rng([self.seed, repeat])
        split = draw_split(n, sizes, rng)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            model = network(source.width, units).to(device)
        self._fit(model, source, n, split, epochs, rng)
        test = _predict(model, source, split.test, self.batch_size)
        val = _predict(model, source, split.val, self.batch_size)
        return _evaluate(test, split.test < n, val, split.val < n)

    def _fit(
        self,
        model: nn.Module,
        source: ClassifierRows,
        n: int,
        split: Split,
        epochs: int,
        rng: np.random.Generator,
    ) -> None:
        """Train and leave the model with the weights of the most accurate epoch."""
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        criterion = nn.BCEWithLogitsLoss()
        best, kept = -1.0, {}
        progress = tqdm(range(epochs), f"classifier {self.mode}", leave=False, disable=None)
        for _ in progress:
            model.train()
            order = rng.permutation(split.train)
            for start in range(0, len(order), self.batch_size):
                index = order[start : start + self.batch_size]
                inputs = source.rows(index)
                target = torch.from_numpy(index < n).to(inputs)
                loss = criterion(model(inputs)[:, 0], target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            scores = _predict(model, source, split.test, self.batch_size)
            accuracy = float(np.mean((scores > 0.5) == (split.test < n)))
            progress.set_postfix(accuracy=accuracy)
            if accuracy > best:
                best = accuracy
                kept = {name: value.clone() for name, value in model.state_dict().items()}
            if accuracy == 1:
                break
        model.load_state_dict(kept)


def network(width: int, units: int) -> nn.Sequential:
    """The official classifier: (B, width) -> logit (B, 1)."""
    return nn.Sequential(
        nn.Linear(width, units),
        nn.LeakyReLU(0.01),
        nn.Linear(units, units),
        nn.LeakyReLU(0.01),
        nn.Linear(units, units),
        nn.LeakyReLU(0.01),
        nn.Linear(units, 1),
    )


def parameter_count(width: int, units: int) -> int:
    """Number of parameters of :func:`network`, without making any."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in network(width, units).parameters())


def auc_error(auc: float, n: int) -> float:
    """Standard error of an AUC from n rows of each class."""
    above, below = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n - 1) * (above + below - 2 * auc**2)
    return math.sqrt(max(variance, 0.0)) / n


@torch.no_grad()
def _predict(
    model: nn.Module, source: ClassifierRows, index: np.ndarray, batch_size: int
) -> np.ndarray:
    """Probability of being real, float64, shape (len(index),)."""
    model.eval()
    starts = range(0, len(index), batch_size)
    logits = [model(source.rows(index[start : start + batch_size]))[:, 0] for start in starts]
    return torch.sigmoid(torch.cat(logits).double()).cpu().numpy()


def _evaluate(
    test: np.ndarray, test_real: np.ndarray, val: np.ndarray, val_real: np.ndarray
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Calibrate on "test" scores, report on "val" scores."""
    calibration = IsotonicRegression(out_of_bounds="clip", y_min=1e-6, y_max=1 - 1e-6)
    calibrated = calibration.fit(test, test_real).predict(val)
    cross_entropy = -np.mean(np.log(np.where(val_real, calibrated, 1 - calibrated)))
    scores = {
        "auc": float(roc_auc_score(val_real, calibrated)),
        "auc_raw": float(roc_auc_score(val_real, val)),
        "jsd": float(1 - cross_entropy / math.log(2)),
        "accuracy": float(np.mean((calibrated > 0.5) == val_real)),
    }
    fpr, tpr, _ = roc_curve(val_real, val)
    grid = np.linspace(0, 1, ROC_POINTS)
    return scores, {"fpr": grid.tolist(), "tpr": np.interp(grid, fpr, tpr).tolist()}


def _summary(runs: list[dict[str, float]], n_val: int) -> dict[str, float | None]:
    """Means over repeats, and the spread of AUC and JSD."""
    summary: dict[str, float | None] = {
        name: float(np.mean([run[name] for run in runs])) for name in runs[0]
    }
    for name in ("auc", "jsd"):
        values = [run[name] for run in runs]
        summary[f"{name}_std"] = float(np.std(values, ddof=1)) if len(runs) > 1 else None
    summary["auc_error"] = auc_error(float(np.mean([run["auc"] for run in runs])), n_val)
    return summary
