"""What a classifier's probabilities are worth: AUC, Jensen-Shannon divergence, ROC curve.

References:
    Hanley, McNeil (1982), The meaning and use of the area under a ROC curve (its standard error).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score, roc_curve

ROC_POINTS = 201


def auc_error(auc: float, n: float, others: float | None = None) -> float:
    """Standard error of an AUC from n real rows and as many others, or ``others`` of these."""
    m = n if others is None else others
    above, below = auc / (2 - auc) - auc**2, 2 * auc**2 / (1 + auc) - auc**2
    variance = auc * (1 - auc) + (n - 1) * above + (m - 1) * below
    return math.sqrt(max(variance, 0.0) / (n * m))


def calibrate(test: np.ndarray, test_real: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Probabilities of "val" scores by an isotonic regression of "test" scores, shape of val."""
    calibration = IsotonicRegression(out_of_bounds="clip", y_min=1e-6, y_max=1 - 1e-6)
    return np.asarray(calibration.fit(test, test_real).predict(val))


def evaluate(
    test: np.ndarray, test_real: np.ndarray, val: np.ndarray, val_real: np.ndarray
) -> tuple[dict[str, float], np.ndarray]:
    """Calibrate on "test" scores, report on "val" scores, with the true-positive rates."""
    calibrated = calibrate(test, test_real, val)
    losses = -np.log(np.where(val_real, calibrated, 1 - calibrated))
    scores = {
        "auc": float(roc_auc_score(val_real, calibrated)),
        "auc_raw": float(roc_auc_score(val_real, val)),
        "jsd": float(1 - losses.mean() / math.log(2)),
        "jsd_error": float(losses.std(ddof=1) / math.log(2) / math.sqrt(len(losses))),
        "accuracy": float(np.mean((calibrated > 0.5) == val_real)),
    }
    fpr, tpr, _ = roc_curve(val_real, val)
    return scores, np.interp(np.linspace(0, 1, ROC_POINTS), fpr, tpr)


def mean_curve(curves: Sequence[np.ndarray]) -> dict[str, Any]:
    """The repeats' ROC curves, averaged at equal false-positive rates."""
    stacked = np.stack(curves)
    spread = stacked.std(0, ddof=1).tolist() if len(stacked) > 1 else None
    return {
        "fpr": np.linspace(0, 1, ROC_POINTS).tolist(),
        "tpr": stacked.mean(0).tolist(),
        "tpr_std": spread,
        "curves": stacked.tolist(),
    }


def summary(runs: list[dict[str, float]], n_val: int) -> dict[str, float | None]:
    """Means over repeats, and the spread of AUC and JSD."""
    summary: dict[str, float | None] = {
        name: float(np.mean([run[name] for run in runs])) for name in runs[0]
    }
    for name in ("auc", "jsd"):
        values = [run[name] for run in runs]
        summary[f"{name}_std"] = float(np.std(values, ddof=1)) if len(runs) > 1 else None
    summary["auc_error"] = auc_error(float(np.mean([run["auc"] for run in runs])), n_val)
    return summary
