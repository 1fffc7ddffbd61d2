"""Linear correlations between the energies of the layers, and how far two samples' differ.

References:
    Krause et al. (2024), CaloChallenge 2022, arXiv:2410.21611 (the matrices, as figures).
"""

from dataclasses import dataclass

import numpy as np

from caloman_cli.config.values import Several, checked
from caloman_cli.errors import UserError
from caloman_cli.metrics.features import Features


@dataclass(frozen=True)
class CorrelationMatrix:
    """Pearson coefficients of layer energies.

    Args:
        layers: The layers' ids, in the order of rows and columns. The official figures show
            the rows from below.
        values: Coefficients, shape (L, L); NaN in rows and columns of constant layers.
        constant: Ids of the layers whose energy is the same in all showers, mostly zero.
    """

    layers: tuple[int, ...]
    values: np.ndarray
    constant: tuple[int, ...]


def layer_correlations(features: Features) -> CorrelationMatrix:
    """Pearson matrix of the layers' energies after the readout cut."""
    energies = features.group("E_layer")
    ids = tuple(layer.id for layer in features.geometry.layers)
    if len(energies) < 3:
        raise UserError(f"{len(energies)} showers: correlations need 3 or more")
    values = _pearson(energies, np.ones(len(energies)))
    still = np.isnan(np.diag(values))
    return CorrelationMatrix(ids, values, tuple(i for i, no in zip(ids, still, strict=True) if no))


@checked
class CorrelationTest:
    """Differences between the Pearson matrices of two samples.

    Args:
        resamplings: Bootstrap samples that give the errors and the floor.
        seed: Of the bootstrap.
    """

    def __init__(self, resamplings: Several = 100, seed: int = 0) -> None:
        self.resamplings, self.seed = resamplings, seed

    def __call__(self, reference: Features, generated: Features) -> dict[str, float]:
        """Compare the matrices over the pairs of layers that vary in both samples.

        Returns:
            ``correlation_rms`` and ``correlation_max``, the root mean square and the largest
            absolute difference of coefficients, with their bootstrap errors ``..._error``;
            ``correlation_rms_floor`` and ``correlation_max_floor``, what two samples of one
            distribution and these sizes give in the mean; ``pairs``, how many were compared.

        Raises:
            UserError: A side has fewer than 100 showers, other layers than the other, or fewer
                than two layers vary.
        """
        sides = [features.group("E_layer") for features in (reference, generated)]
        pairs = self._pairs(sides)
        whole = [_pearson(side, np.ones(len(side)))[pairs] for side in sides]
        rng = np.random.default_rng(self.seed)
        drawn, noise = [], []
        for _ in range(self.resamplings):
            again = [
                _pearson(side, np.bincount(rng.integers(n, size=n), minlength=n))[pairs]
                for side, n in zip(sides, map(len, sides), strict=True)
            ]
            drawn.append(_size(again[1] - again[0]))
            # Deviations of both sides from their whole: the difference of two equal truths.
            noise.append(_size((again[1] - whole[1]) - (again[0] - whole[0])))
        values = _size(whole[1] - whole[0])
        found: dict[str, float] = {"pairs": float(len(pairs[0]))}
        for column, kind in enumerate(("rms", "max")):
            name = f"correlation_{kind}"
            found[name] = float(values[column])
            found[f"{name}_error"] = float(np.nanstd(np.array(drawn)[:, column], ddof=1))
            found[f"{name}_floor"] = float(np.nanmean(np.array(noise)[:, column]))
        return found

    def _pairs(self, sides: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the coefficients above the diagonal that both sides have."""
        if sides[0].shape[1] != sides[1].shape[1]:
            raise UserError(
                f"{sides[0].shape[1]} layers in the reference, {sides[1].shape[1]} in the "
                "generated showers: give two files of one dataset"
            )
        smallest = min(map(len, sides))
        if smallest < 100:
            raise UserError(f"{smallest} showers: correlations are compared from 100 or more")
        varies = np.logical_and(*(np.ptp(side, axis=0) > 0 for side in sides))
        if varies.sum() < 2:
            raise UserError("fewer than two layers vary in both samples: nothing to correlate")
        layers = np.flatnonzero(varies)
        upper = np.triu_indices(len(layers), 1)
        return layers[upper[0]], layers[upper[1]]


def _pearson(energies: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson matrix of rows that count ``weights`` times; NaN where a column is constant."""
    total = weights.sum()
    shifted = energies - weights @ energies / total
    covariance = (shifted * weights[:, None]).T @ shifted / total
    spread = np.sqrt(np.diag(covariance))
    spread[np.ptp(energies[weights > 0], axis=0) == 0] = np.nan
    values = covariance / np.outer(spread, spread)
    return np.clip(values, -1, 1)


def _size(differences: np.ndarray) -> tuple[float, float]:
    """Root mean square and largest absolute value of those that exist."""
    known = np.abs(differences[~np.isnan(differences)])
    if len(known) == 0:  # a resampling in which every layer but one happens to be constant
        return np.nan, np.nan
    return float(np.sqrt(np.mean(known**2))), float(known.max())
