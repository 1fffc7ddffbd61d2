r"""Layer energies at equal incident energy: how far two samples are apart, and which are empty.

Histograms of layer energies over a wide spectrum of incident energies show the spectrum first. The
shares :math:`x = E_\mathrm{layer} / E_\mathrm{inc}` do not. Their distance,

.. math::
    \frac{1}{\sigma} \int |F_\mathrm{generated}(x) - F_\mathrm{reference}(x)| \,\mathrm{d}x,

is the Wasserstein distance in units of the standard deviation :math:`\sigma` of both samples
together, equally weighted: it needs no bins, and a layer that is nearly always empty does not
outweigh the others. A shift by a tenth of :math:`\sigma` is 0.1.

Which layers of a shower are empty is its pattern. The patterns' frequencies are compared by their
total variation, half of the sum of absolute differences: emptying a layer in 10 % of showers
gives 0.1. Each layer alone may be empty often enough and the patterns be wrong.

Correlations are those of :math:`\log_{10} x`, an empty layer at the readout cut. Those of x hang
on the few showers that reach the last layers, so much that their floors say little.
"""

from dataclasses import dataclass, replace

import numpy as np

from caloman_cli.config.values import Several, checked
from caloman_cli.errors import UserError
from caloman_cli.metrics.correlation import CorrelationTest
from caloman_cli.metrics.features import Features

LEAST = 100  # showers on both sides
KINDS = ("mean", "max", "patterns", "empty", "correlation")


@dataclass(frozen=True)
class LayerDifference:
    """How differently two samples fill their layers.

    Args:
        values: ``mean`` and ``max``, of the layers' distances; ``patterns``, the total variation
            of which layers are empty; ``empty``, the largest difference of how often a layer is;
            ``correlation``, the largest difference of Pearson coefficients of log10 shares; each
            with its bootstrap error ``..._error`` and ``..._floor``, what two samples of one
            distribution and these sizes give in the mean. None where too few layers vary.
        distances: Of the layers, shape (L,); 0 for one that varies nowhere.
        floors: Of the distances, shape (L,).
    """

    values: dict[str, float | None]
    distances: np.ndarray
    floors: np.ndarray


def shares(features: Features) -> np.ndarray:
    """E_layer / E_inc after the readout cut, float64, shape (N, L)."""
    return features.group("E_layer") / features.e_inc[:, None]


@checked
class LayerEnergyTest:
    """Compare the layer energies of two samples, with bootstrap errors and floors.

    Args:
        resamplings: Bootstrap samples of whole showers, and as many permutations for the floors.
        seed: Of both.
    """

    def __init__(self, resamplings: Several = 100, seed: int = 0) -> None:
        self.resamplings, self.seed = resamplings, seed

    def __call__(self, reference: Features, generated: Features) -> LayerDifference:
        """Differences of the two samples.

        Raises:
            UserError: A side has fewer than 100 showers, or other layers than the other.
        """
        sides = shares(reference), shares(generated)
        if (smallest := min(map(len, sides))) < LEAST:
            raise UserError(
                f"{smallest} showers: layer energies are compared from {LEAST} or more"
            )
        if sides[0].shape[1] != sides[1].shape[1]:
            raise UserError(
                f"{sides[0].shape[1]} layers in the reference, {sides[1].shape[1]} in the "
                "generated showers: give two files of one dataset"
            )
        pair, rng = _Pair.of(*sides), np.random.default_rng(self.seed)
        ones = [np.ones(len(side)) for side in sides]
        # Of two equal truths any division of all showers is as likely as this one.
        labels = _weights(*ones)
        numbers, distances = pair.differences(labels)
        drawn, noise, floors = [], [], []
        for _ in range(self.resamplings):
            again = [np.bincount(rng.integers(n, size=n), minlength=n) for n in map(len, sides)]
            drawn.append(pair.differences(_weights(*again))[0])
            by_chance, each = pair.differences(rng.permutation(labels))
            noise.append(by_chance)
            floors.append(each)
        errors, floor = np.std(drawn, axis=0, ddof=1), np.mean(noise, axis=0)
        values: dict[str, float | None] = {}
        for column, kind in enumerate(KINDS[:-1]):
            known = kind in ("patterns", "empty") or len(pair.varying) > 0
            values[kind] = float(numbers[column]) if known else None
            values[f"{kind}_error"] = float(errors[column]) if known else None
            values[f"{kind}_floor"] = float(floor[column]) if known else None
        values.update(self._correlation(reference, generated))
        return LayerDifference(values, distances, np.mean(floors, axis=0))

    def _correlation(self, *sides: Features) -> dict[str, float | None]:
        """The largest difference of the Pearson matrices of log10 shares."""
        names = ("correlation", "correlation_error", "correlation_floor")
        varies = np.logical_and(*(np.ptp(shares(side), axis=0) > 0 for side in sides))
        if varies.sum() < 2:
            return dict.fromkeys(names)
        lowest = _lowest(*sides)
        found = CorrelationTest(self.resamplings, self.seed)(
            *(_logarithms(side, varies, lowest) for side in sides)
        )
        keys = ("correlation_max", "correlation_max_error", "correlation_max_floor")
        return {name: found[key] for name, key in zip(names, keys, strict=True)}


@dataclass(frozen=True)
class _Pair:
    """M showers of both samples, sorted once for all resamplings.

    Args:
        n_layers: L.
        varying: The layers that vary, shape (V,).
        orders: Rows by rising share, one array (M,) a varying layer.
        gaps: Between sorted shares, in standard deviations, one array (M - 1,) each.
        patterns: The number of each row's pattern of empty layers, shape (M,).
        empty: Whether a layer is, float64, shape (M, L).
    """

    n_layers: int
    varying: np.ndarray
    orders: list[np.ndarray]
    gaps: list[np.ndarray]
    patterns: np.ndarray
    empty: np.ndarray

    @classmethod
    def of(cls, reference: np.ndarray, generated: np.ndarray) -> "_Pair":
        both = np.concatenate([reference, generated])
        varying = np.flatnonzero(np.ptp(both, axis=0) > 0)
        orders, gaps = [], []
        for layer in varying:
            sides = reference[:, layer], generated[:, layer]
            apart = sides[1].mean() - sides[0].mean()
            spread = np.sqrt((sides[0].var() + sides[1].var()) / 2 + apart**2 / 4)
            order = np.argsort(both[:, layer])
            orders.append(order)
            gaps.append(np.diff(both[order, layer]) / spread)
        empty = both == 0
        bits = np.packbits(empty, axis=1)
        _, patterns = np.unique(bits, axis=0, return_inverse=True)
        return cls(both.shape[1], varying, orders, gaps, patterns.reshape(-1), empty.astype(float))

    def differences(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values of ``mean``, ``max``, ``patterns``, ``empty``, and the layers' distances (L,).

        Args:
            weights: What :func:`_weights` returns, shape (M,), in any order.
        """
        distances, scale = np.zeros(self.n_layers), weights[weights > 0].sum()
        for layer, order, gaps in zip(self.varying, self.orders, self.gaps, strict=True):
            distances[layer] = np.abs(np.cumsum(weights[order])[:-1]) @ gaps / scale
        known = distances[self.varying]
        patterns = np.abs(np.bincount(self.patterns, weights)).sum() / (2 * scale)
        empty = np.abs(weights @ self.empty).max() / scale
        mean = known.mean() if len(known) else 0.0
        return np.array([mean, known.max(initial=0.0), patterns, empty]), distances


def _weights(reference: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Of the rows of both: minus and plus how often each counts, times the other side's number.

    Whole numbers, so that what is equal differs by 0 exactly; either side adds up to N N'.
    """
    return np.concatenate(
        [-reference * float(generated.sum()), generated * float(reference.sum())]
    )


def _lowest(*sides: Features) -> float:
    """What an empty layer counts as [MeV]: the readout cut, without one the least energy."""
    cut = max(max(side.threshold, side.geometry.threshold) for side in sides)
    return cut or min(float(e[e > 0].min()) for e in (side.group("E_layer") for side in sides))


def _logarithms(features: Features, layers: np.ndarray, lowest: float) -> Features:
    """log10 E_layer / E_inc of some layers, in the place of energies."""
    energies = np.maximum(features.group("E_layer")[:, layers], lowest)
    columns = np.log10(energies / features.e_inc[:, None]).T
    names = [name for name in features.values if name.startswith("E_layer/")]
    chosen = [name for name, is_there in zip(names, layers, strict=True) if is_there]
    return replace(features, values=dict(zip(chosen, columns, strict=True)))
