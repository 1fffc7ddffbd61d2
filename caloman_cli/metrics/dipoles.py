r"""Which way showers lean: dipoles in alpha, ring by ring and layer by layer.

The dipole of a ring is :math:`d = \sum_k f_k e^{i \alpha_k}`, with f the slices' shares of the
ring's energy: 0 for a ring that is lit evenly, of length 1 for one lit slice. Histograms of
centres look at one layer at a time, so they see neither a layer that is turned against the others
nor rings that lean apart. Correlations of dipoles do:

.. math::
    c_{ab} = \langle d_a \bar d_b \rangle
           / \sqrt{\langle |d_a|^2 \rangle \langle |d_b|^2 \rangle},

a complex number: 1 if two layers always lean alike, 0 if independently, of phase
:math:`\varphi` if a is turned by :math:`\varphi` against b. A detector need not be symmetric about
the axis: nothing is assumed, both samples are compared as they are.
"""

from dataclasses import dataclass

import numpy as np

from caloman_cli.config.values import Several, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError

KINDS = ("lean", "rings", "layers")
LEAST = 100  # showers in which a ring or a layer is lit, on both sides
_AT_ONCE = 20  # resamplings in one matrix product


@dataclass(frozen=True)
class ShowerDipoles:
    """The dipoles of showers; 0 where a ring or a layer is dark.

    Args:
        rings: complex64, shape (N, R): the rings of all layers with slices, innermost first.
        layers: complex64, shape (N, L): these layers.
        lit_rings: bool, shape (N, R).
        lit_layers: bool, shape (N, L).
    """

    rings: np.ndarray
    layers: np.ndarray
    lit_rings: np.ndarray
    lit_layers: np.ndarray

    def __len__(self) -> int:
        return len(self.layers)


def sliced_layers(geometry: Geometry) -> list[int]:
    """The positions of the layers that have a direction: three slices or more."""
    return [number for number, layer in enumerate(geometry.layers) if layer.n_alpha > 2]


def dipoles(showers: Showers, threshold: float | None = None) -> ShowerDipoles:
    """Dipoles of all rings and layers with three slices or more.

    Args:
        showers: Read in chunks.
        threshold: Readout cut [MeV]. None: the geometry's.

    Raises:
        UserError: No layer has three slices.
    """
    geometry = showers.geometry
    chosen = sliced_layers(geometry)
    if not chosen:
        raise UserError(
            f"no layer of {geometry.name} has three slices or more: showers lean nowhere"
        )
    cut = geometry.threshold if threshold is None else threshold
    rings, layers, lit = [], [], []
    for _, voxels in showers.iterate():
        voxels = np.where(voxels < cut, 0, voxels)
        found = [_of_layer(geometry, number, voxels) for number in chosen]
        rings.append(np.concatenate([ring for ring, *_ in found], 1))
        layers.append(np.stack([layer for _, layer, *_ in found], 1))
        lit.append((
            np.concatenate([ring for *_, ring, _ in found], 1),
            np.stack([layer for *_, layer in found], 1),
        ))  # fmt: skip
    return ShowerDipoles(
        np.concatenate(rings),
        np.concatenate(layers),
        np.concatenate([ring for ring, _ in lit]),
        np.concatenate([layer for _, layer in lit]),
    )


def _of_layer(
    geometry: Geometry, number: int, voxels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Dipoles (N, n_r) of the rings and (N,) of the layer, and where these are lit."""
    layer = geometry.layers[number]
    image = voxels[:, geometry.slices[number]].reshape(-1, layer.n_alpha, layer.n_r)
    angles = 2 * np.pi * (np.arange(layer.n_alpha) + 0.5) / layer.n_alpha - np.pi
    sums = np.einsum("nar,a->nr", image, np.exp(1j * angles).astype(np.complex64))
    energy = image.sum(1)
    whole, total = sums.sum(1), energy.sum(1)
    return _over(sums, energy), _over(whole, total), energy > 0, total > 0


def _over(sums: np.ndarray, energy: np.ndarray) -> np.ndarray:
    return np.divide(sums, energy, out=np.zeros_like(sums), where=energy > 0)


@checked
class DipoleTest:
    """Compare how two samples lean, with bootstrap errors and floors.

    Args:
        resamplings: Bootstrap samples of whole showers.
        seed: Of the resamplings.
    """

    def __init__(self, resamplings: Several = 100, seed: int = 0) -> None:
        self.resamplings, self.seed = resamplings, seed

    def __call__(
        self, geometry: Geometry, reference: ShowerDipoles, generated: ShowerDipoles
    ) -> dict[str, float | None]:
        """Root mean square differences of the two samples.

        Args:
            geometry: Of both.
            reference: Of real showers.
            generated: Of the showers to judge.

        Returns:
            ``lean``, of the root mean square dipoles of rings and layers; ``rings``, of the
            correlations of neighbouring rings of a layer; ``layers``, of those of every two
            layers; each with its bootstrap error ``..._error`` and ``..._floor``, what two samples
            of one distribution and these sizes give in the mean. None where nothing is lit often
            enough, or there is one layer.

        Raises:
            UserError: A side has fewer than 100 showers.
        """
        sides = (reference, generated)
        if (smallest := min(map(len, sides))) < LEAST:
            raise UserError(f"{smallest} showers: dipoles are compared from {LEAST} or more")
        neighbours = _neighbours(geometry)
        known = _often_lit(sides, neighbours)
        whole = [_values(side, neighbours, np.ones((1, len(side)), np.float32)) for side in sides]
        rng = np.random.default_rng(self.seed)
        drawn: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        noise: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        for start in range(0, self.resamplings, _AT_ONCE):
            n = min(_AT_ONCE, self.resamplings - start)
            again = [_values(side, neighbours, _counts(rng, n, len(side))) for side in sides]
            for kind in KINDS:
                first, second = again[0][kind], again[1][kind]
                drawn[kind].append(_size(second - first, known[kind]))
                # Deviations of both from their whole: the difference of two equal truths.
                apart = (second - whole[1][kind]) - (first - whole[0][kind])
                noise[kind].append(_size(apart, known[kind]))
        found: dict[str, float | None] = {}
        for kind in KINDS:
            some = bool(known[kind].any())
            value = _size(whole[1][kind] - whole[0][kind], known[kind])[0] if some else None
            found[kind] = None if value is None else float(value)
            error, floor = np.concatenate(drawn[kind]), np.concatenate(noise[kind])
            found[f"{kind}_error"] = float(error.std(ddof=1)) if some else None
            found[f"{kind}_floor"] = float(floor.mean()) if some else None
        return found


def layer_correlation(sample: ShowerDipoles) -> np.ndarray:
    """The complex correlation of every two layers' dipoles, shape (L, L); NaN where dark."""
    weights = np.ones((1, len(sample)), np.float32)
    return _correlation_matrices(sample.layers, sample.lit_layers, weights)[0]


def lean(sample: ShowerDipoles) -> np.ndarray:
    """Root mean square dipole of each layer where it is lit, shape (L,); NaN where it never is."""
    return _root_mean_square(
        sample.layers, sample.lit_layers, np.ones((1, len(sample)), np.float32)
    )[0]


def _neighbours(geometry: Geometry) -> np.ndarray:
    """The columns of :attr:`ShowerDipoles.rings` whose next one is a ring of the same layer."""
    sizes = [geometry.layers[number].n_r for number in sliced_layers(geometry)]
    last = np.cumsum(sizes) - 1
    return np.setdiff1d(np.arange(sum(sizes)), last)


def _often_lit(
    sides: tuple[ShowerDipoles, ShowerDipoles], inner: np.ndarray
) -> dict[str, np.ndarray]:
    """Which values of each kind both sides know well enough."""
    rings, next_rings, layers, pairs = [], [], [], []
    for side in sides:
        lit = side.lit_layers.astype(np.float32)
        rings.append(side.lit_rings.sum(0) >= LEAST)
        next_rings.append((side.lit_rings[:, inner] & side.lit_rings[:, inner + 1]).sum(0))
        layers.append(side.lit_layers.sum(0) >= LEAST)
        pairs.append((lit.T @ lit)[np.triu_indices(lit.shape[1], 1)])
    return {
        "lean": np.concatenate([rings[0] & rings[1], layers[0] & layers[1]]),
        "rings": np.minimum(*next_rings) >= LEAST,
        "layers": np.minimum(*pairs) >= LEAST,
    }


def _counts(rng: np.random.Generator, n: int, rows: int) -> np.ndarray:
    """How often each row is drawn in n resamplings, float32, shape (n, rows)."""
    drawn = [np.bincount(rng.integers(rows, size=rows), minlength=rows) for _ in range(n)]
    return np.stack(drawn).astype(np.float32)


def _values(
    sample: ShowerDipoles, inner: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """The values of each kind for rows that count ``weights`` (B, N) times, shape (B, .)."""
    rings, lit = sample.rings, sample.lit_rings
    both = lit[:, inner] & lit[:, inner + 1]
    first, second = rings[:, inner] * both, rings[:, inner + 1] * both
    crossed = weights @ (first * second.conj())
    norm = (weights @ _squares(first)) * (weights @ _squares(second))
    matrices = _correlation_matrices(sample.layers, sample.lit_layers, weights)
    upper = np.triu_indices(matrices.shape[1], 1)
    return {
        "lean": np.concatenate(
            [
                _root_mean_square(rings, lit, weights),
                _root_mean_square(sample.layers, sample.lit_layers, weights),
            ],
            1,
        ),
        "rings": _ratio(crossed, np.sqrt(norm)),
        "layers": matrices[:, upper[0], upper[1]],
    }


def _correlation_matrices(layers: np.ndarray, lit: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Complex, shape (B, L, L); of each two layers over showers in which both are lit."""
    lights, squares = lit.astype(np.float32), _squares(layers)
    found = []
    for row in weights:
        crossed = (layers * row[:, None]).T @ layers.conj()
        power = (squares * row[:, None]).T @ lights
        found.append(_ratio(crossed, np.sqrt(power * power.T)))
    return np.stack(found)


def _root_mean_square(values: np.ndarray, lit: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.sqrt(_ratio(weights @ _squares(values), weights @ lit.astype(np.float32)))


def _squares(values: np.ndarray) -> np.ndarray:
    return values.real**2 + values.imag**2


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.full_like(over, np.nan), where=under > 0)


def _size(differences: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Root mean square of the known ones, shape (B,); NaN where there are none."""
    chosen = differences[:, known]
    if not chosen.shape[1]:
        return np.full(len(differences), np.nan)
    return np.sqrt(np.nanmean(np.abs(chosen).astype(np.float64) ** 2, 1))
