r"""What is global in a shower: a few numbers that all of its layers share.

Of layers l = 0, 1, ... with energies E_l after the readout cut, centres :math:`x_l, y_l` and
radial moments, the whole shower has the axis :math:`\sum_l E_l x_l / \sum_l E_l` over layers with
slices in alpha, the tilt (the slope of :math:`x_l` against l, weighted with :math:`E_l`), the
width :math:`\sqrt{\langle r^2 \rangle - \langle r \rangle^2}` over all of its energy, the mean
depth :math:`\sum_l l E_l / \sum_l E_l` and the depth of its maximum. Depths count layers, since
not every detector's have one thickness.
"""

from typing import NamedTuple

import numpy as np

from caloman_cli.metrics.features import Features


class Observable(NamedTuple):
    """One quantity of N showers, of K columns.

    Args:
        name: For keys, of letters and ``_``.
        words: For readers, with the unit.
        values: float64, shape (N, K); 0 where not known.
        known: Where it has a meaning, bool, shape (N, K): a dark layer has no centre.
        by_layer: Whether the columns are layers, each a quantity of its own; else they are
            coordinates of one vector.
        given: Whether the layers' energies say it all.
    """

    name: str
    words: str
    values: np.ndarray
    known: np.ndarray
    by_layer: bool = False
    given: bool = False

    def thinned(self, most: int) -> "Observable":
        """The same of a few of its columns, spread over all."""
        n = self.values.shape[1]
        if n <= most:
            return self
        chosen = np.linspace(0, n - 1, most).round().astype(int)
        return self._replace(values=self.values[:, chosen], known=self.known[:, chosen])


def observables(features: Features, most: int = 15) -> list[Observable]:
    """All of a detector: axis where a layer has slices, tilt where two have.

    Args:
        features: Of N showers.
        most: Columns of those by layer, spread over all layers.
    """
    energies = features.group("E_layer")
    lit, places = energies > 0, np.arange(energies.shape[1], dtype=np.float64)
    any_lit = _any(lit)
    shares = _over(energies, energies.sum(1, keepdims=True))
    found = [
        Observable("depth_of_maximum", "depth of maximum [layers]",
                   energies.argmax(1)[:, None].astype(np.float64), any_lit, given=True),
        Observable("mean_depth", "mean depth [layers]", (shares @ places)[:, None], any_lit,
                   given=True),
        Observable("fractions", "layers' fractions", shares, np.broadcast_to(any_lit, lit.shape),
                   by_layer=True, given=True),
        *_directions(features, energies),
        *_widths(features, shares, lit),
    ]  # fmt: skip
    voxels = np.array([layer.n_voxels for layer in features.geometry.layers])
    occupied = 1 - features.group("sparsity")
    whole = (occupied @ voxels / voxels.sum())[:, None]
    found += [
        Observable("occupancy", "occupancy", whole, any_lit),
        Observable("occupancies", "layers' occupancies", occupied, lit, by_layer=True),
    ]
    return [each.thinned(most) if each.by_layer else each for each in found]


def _directions(features: Features, energies: np.ndarray) -> list[Observable]:
    """Axis, tilt and layers' centres, of the layers that have slices."""
    places = np.array([i for i, layer in enumerate(features.geometry.layers) if layer.n_alpha > 1])
    if not len(places):
        return []
    weights, lit = energies[:, places], energies[:, places] > 0
    centres = np.stack([features.group("EC_eta"), features.group("EC_phi")], 2)  # (N, S, 2)
    shares = _over(weights, weights.sum(1, keepdims=True))
    axis = np.einsum("ns,nsk->nk", shares, centres)
    known = np.repeat(_any(lit), 2, 1)
    found = [Observable("axis", "axis [mm]", axis, known)]
    if len(places) > 1:
        away = places - (shares @ places)[:, None]
        lever = (shares * away**2).sum(1, keepdims=True)
        slope = np.einsum("ns,ns,nsk->nk", shares, away, centres)
        known = np.repeat(lit.sum(1, keepdims=True) > 1, 2, 1)
        tilt = np.where(known, _over(slope, lever), 0.0)
        found.append(Observable("tilt", "tilt [mm per layer]", tilt, known))
    of_layers, lit = centres.reshape(len(axis), -1), np.repeat(lit, 2, 1)
    return [*found, Observable("centres", "layers' centres [mm]", of_layers, lit, by_layer=True)]


def _widths(features: Features, shares: np.ndarray, lit: np.ndarray) -> list[Observable]:
    first, width = features.group("EC_r"), features.group("width_r")
    mean = (shares * first).sum(1)
    square = (shares * (width**2 + first**2)).sum(1)
    whole = np.sqrt(np.maximum(square - mean**2, 0))[:, None]
    return [
        Observable("width", "width in r [mm]", whole, _any(lit)),
        Observable("widths", "layers' widths in r [mm]", width, lit, by_layer=True),
    ]


def _any(lit: np.ndarray) -> np.ndarray:
    return np.asarray(lit.any(1, keepdims=True))


def _over(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)
