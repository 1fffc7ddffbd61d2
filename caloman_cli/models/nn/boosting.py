"""Ensembles of boosted trees: grown from a table that is made when it is read, kept as bytes."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Rows = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Number of a copy -> what trees see (N, S) and are to say (N, A): the same whenever asked."""


def grow(
    xgboost: Any, rows: Rows, copies: int, trees: int, patience: int, settings: dict[str, Any]
) -> Any:
    """One ensemble for all columns, from copies of a table that are made when they are read.

    Only the bins of what trees see stay in memory, one byte a number, and what they are to say.

    Args:
        xgboost: The module.
        rows: Makes a copy.
        copies: How many of them to learn from.
        trees: Of each column, at most.
        patience: Rounds without a better error on as many fresh copies; 0: all trees are grown.
        settings: XGBoost's.

    Returns:
        The booster.
    """
    seen = xgboost.QuantileDMatrix(_stream(xgboost, rows, range(copies)))
    if not patience:
        return xgboost.train(settings, seen, trees)
    fresh = _stream(xgboost, rows, range(copies, 2 * copies))
    found = xgboost.train(
        settings,
        seen,
        trees,
        evals=[(xgboost.QuantileDMatrix(fresh, ref=seen), "fresh")],
        early_stopping_rounds=patience,
        verbose_eval=False,
    )
    return found[: found.best_iteration + 1]


def _stream(xgboost: Any, rows: Rows, numbers: Sequence[int]) -> Any:
    class Stream(xgboost.DataIter):
        """XGBoost reads all of it several times, and has to see the same each time."""

        place = 0

        def reset(self) -> None:
            self.place = 0

        def next(self, take: Callable[..., object]) -> bool:
            if self.place == len(numbers):
                return False
            seen, wanted = rows(numbers[self.place])
            self.place += 1
            take(data=seen, label=wanted)
            return True

    return Stream()


def to_bytes(boosters: Sequence[Any], facts: dict[str, np.ndarray]) -> bytes:
    """Ensembles and arrays that belong to them, by name."""
    kept = io.BytesIO()
    arrays: dict[str, Any] = dict(facts)
    arrays |= {
        f"booster{i}": np.frombuffer(bytes(booster.save_raw("ubj")), np.uint8)
        for i, booster in enumerate(boosters)
    }
    np.savez_compressed(kept, **arrays)
    return kept.getvalue()


def from_bytes(xgboost: Any, content: bytes) -> tuple[list[Any], dict[str, np.ndarray]]:
    """What :func:`to_bytes` was given."""
    with np.load(io.BytesIO(content), allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    boosters: list[Any] = []
    while (raw := arrays.pop(f"booster{len(boosters)}", None)) is not None:
        boosters.append(read(xgboost, raw.tobytes()))
    return boosters, arrays


def read(xgboost: Any, content: bytes) -> Any:
    """The ensemble that was written with ``save_raw``."""
    booster = xgboost.Booster()
    booster.load_model(bytearray(content))
    return booster
