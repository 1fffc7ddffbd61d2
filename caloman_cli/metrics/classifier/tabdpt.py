"""A classifier that is not trained: TabDPT, a transformer that learned from many other tables.

It reads labelled rows as its context and says of others what they are. It looks at the high-level
features of showers, as ``high`` does. A test of two samples so costs no training, and has no
settings to choose; what the transformer cannot see from a few thousand rows it does not find.

References:
    Ma et al. (2024), TabDPT: scaling tabular foundation models on real data, arXiv:2410.18164.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from caloman_cli.errors import UserError, needed, reason
from caloman_cli.metrics.classifier.inputs import ClassifierRows

CONTEXT, ENSEMBLE = 2048, 8
_KEY = "evaluation.classifier.tabdpt_weights"


def require(weights: str | None) -> ModuleType:
    """The package, before any work.

    Args:
        weights: File of the transformer's weights; None: the package downloads them.

    Raises:
        UserError: It is not installed (it comes with the extra ``tabdpt``), or there is no such
            file.
    """
    package = needed(
        "tabdpt", "tabdpt", "'caloman[tabdpt]'", "classifier mode tabdpt", "leave the mode out"
    )
    if weights is not None and not Path(weights).is_file():
        raise UserError(
            f"{_KEY}={weights} does not exist: give the file of TabDPT's weights, or null to have"
            " the package download it"
        )
    return package


def in_context_scores(
    source: ClassifierRows,
    real: np.ndarray,
    train: np.ndarray,
    judged: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    weights: str | None,
    device: torch.device,
) -> tuple[list[np.ndarray], int]:
    """Read some rows, then say how probably each of the others is real.

    Args:
        source: Inputs of the rows of both classes.
        real: Label of each row, 1 for a real shower.
        train: Rows to read; of many, each member of the ensemble reads :data:`CONTEXT`.
        judged: Sets of rows to judge.
        rng: Gives the seeds.
        weights: See :func:`require`.
        device: Where the transformer runs.

    Returns:
        Probabilities of each set; the number of the transformer's parameters.

    Raises:
        UserError: The weights cannot be had.
    """
    transformer = _loaded(require(weights), weights, device)
    transformer.fit(source.rows(train).cpu().numpy(), real[train])
    scores = []
    for rows in judged:
        said = transformer.ensemble_predict_proba(
            source.rows(rows).cpu().numpy(),
            n_ensembles=ENSEMBLE,
            context_size=CONTEXT,
            seed=int(rng.integers(2**31)),
        )
        scores.append(np.asarray(said[:, 1], np.float64))
    return scores, sum(parameter.numel() for parameter in transformer.model.parameters())


def _loaded(package: ModuleType, weights: str | None, device: torch.device) -> Any:
    # Its reader of files has an error of its own, which is none of Python's kinds.
    reader = needed(
        "safetensors", "safetensors", "'caloman[tabdpt]'", "classifier mode tabdpt", "leave it out"
    )
    try:
        return package.TabDPTClassifier(
            device=str(device), compile=False, model_weight_path=weights, verbose=False
        )
    except (OSError, RuntimeError, KeyError, ValueError, reader.SafetensorError) as error:
        what = f"{_KEY}={weights} cannot be read" if weights else "they cannot be downloaded"
        raise UserError(
            f"classifier mode tabdpt needs TabDPT's weights, and {what} ({reason(error)}): give "
            f"their file, {_KEY}=FILE, or leave the mode out"
        ) from error
