"""Intrinsic dimension of real and of generated showers, side by side."""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from caloman_cli.config.values import Count, Natural
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.components.separation.pages import energy_label
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.dimension_groups import Clusters
from caloman_cli.metrics.features import chunk_rows
from caloman_cli.metrics.intrinsic_dimension import DimensionTable, Row
from caloman_cli.metrics.local_pca import ALPHA
from caloman_cli.metrics.score import Score, key_of

_BYTES = 512 * 2**20  # of voxel shares in memory
_AGGREGATIONS = {"mackay": "", "unbiased": ", unbiased", "mle": ", mle"}
_LOOKS: dict[str, tuple[str, Literal["-", "--", "-.", ":"]]] = {
    "mackay": ("o", "-"),
    "unbiased": ("^", ":"),
    "mle": ("v", ":"),
    "two_nn": ("", "--"),
    "local_pca": ("", "-."),
}
"""Mark and line of an estimator."""
_TICKS, _LONG = 5, 40  # labels, and characters of all of them that fit side by side
_NOTE = (
    "Intrinsic dimension of voxel shares; 'truth' is the reference. From k neighbours: Levina and "
    "Bickel's estimate in MacKay and Ghahramani's form (the inverse of the mean inverse), beside "
    "the mean of the estimates, unbiased or not (mle); TwoNN from the first two. These are lower "
    "bounds. All depend on the number of showers and on the scaling: compare only like with like. "
    "Showers that equal another one are left out, and counted. Spread: statistical."
)
_PCA = (
    f" Local PCA: directions with more than {ALPHA} of the largest variance in neighbourhoods of "
)
_CLUSTERS = " Clusters: k-means of the reference, the largest first."


class IntrinsicDimension:
    """How many directions voxel shares vary in, by five estimators.

    A voxel's share is its energy after the readout cut over the energy of its layer.

    Args:
        k: Numbers of neighbours, each at least 3.
        by_energy: Add lines per incident energy.
        clusters: Add lines per cluster of so many, found by k-means. 0: none.
        max_showers: Showers per line, drawn without replacement.
        n_bins: Bins of a continuous energy.
        pca_k: Showers of a neighbourhood of the local principal components. None: no such.

    References:
        Levina, Bickel (2004), Maximum likelihood estimation of intrinsic dimension. MacKay,
        Ghahramani (2005), comments on it. Facco et al. (2017), TwoNN, arXiv:1803.06992.
        Fukunaga, Olsen (1971), local PCA. Brown et al. (2023), unions of manifolds,
        arXiv:2207.02862.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference",)

    def __init__(
        self,
        k: list[int],
        by_energy: bool = True,
        clusters: Natural = 4,
        max_showers: Count = 5_000,
        n_bins: Count = 6,
        pca_k: Annotated[int, Ge(3)] | None = 100,
    ) -> None:
        self.table = DimensionTable(k, by_energy, max_showers, 0, n_bins, pca_k)
        self.n_clusters = clusters

    def __call__(self, comparison: Comparison) -> Section:
        self.table.seed = comparison.seed
        real = self._shares(comparison.reference)
        clusters = None
        if self.n_clusters:
            drawn = real[0][:: max(1, len(real[0]) // self.table.max_showers)]
            clusters = Clusters(drawn, self.n_clusters, comparison.seed)
        rows, ours = self.table(*real, clusters), list[Row]()
        if comparison.is_judging:
            ours = self.table(*self._shares(comparison.generated), clusters, real[1])
        comparison.draw(
            "intrinsic_dimension",
            dimension_figure(rows, ours, (comparison.reference_label, comparison.model_label)),
            "Intrinsic dimension of voxel shares. Left: of all showers, by the number of "
            "neighbours. Others, from the most neighbours: by incident energy and by cluster.",
        )
        details = {
            "reference": [row._asdict() for row in rows],
            "generated": [row._asdict() for row in ours],
        }
        note = _NOTE
        if self.table.pca_k is not None:
            note += f"{_PCA}{self.table.pca_k}."
        if clusters is not None:
            note += _CLUSTERS
        used: dict[str, str | float | None] = {
            "showers at most": self.table.max_showers,
            "energy bins": self.table.n_bins,
        }
        scores = _scores(rows, ours, self.table.pca_k)
        return Section(scores, details, [note], conditions=used)

    def _shares(self, showers: Showers) -> tuple[np.ndarray, np.ndarray]:
        chosen = spread(showers, max(1, _BYTES // (4 * showers.geometry.n_voxels)))
        return voxel_shares(chosen), chosen.energies


def _scores(real: list[Row], ours: list[Row], pca_k: int | None) -> list[Score]:
    """Of every part and every k the three aggregations, of every part the other estimators."""
    same = {(row.group, row.k): row for row in ours}
    scores = []
    for place, row in enumerate(real):
        other = same.get((row.group, row.k))
        for name, words in _AGGREGATIONS.items():
            key = key_of("dimension", row.group, "k", row.k, *([name] if words else []))
            scores.append(
                _score(row, other, name, f"k = {row.k}{words}", key, _error, summary=not words)
            )
        if place + 1 < len(real) and real[place + 1].group == row.group:
            continue
        key = key_of("dimension", row.group, "two_nn")
        scores.append(_score(row, other, "two_nn", "TwoNN", key, _two_nn_error))
        if row.local_pca is not None:
            key = key_of("dimension", row.group, "local_pca")
            scores.append(
                _score(row, other, "local_pca", "local PCA", key, _pca_error, neighbourhood=pca_k)
            )
    return scores


def _score(
    row: Row,
    other: Row | None,
    name: str,
    words: str,
    key: str,
    error: Callable[[Row], float | None],
    summary: bool = True,
    **conditions: int | None,
) -> Score:
    place = row.group if row.group[0].isalpha() else f"{row.group} MeV"
    copies = f", {row.n_dup} more are copies" if row.n_dup else ""
    return Score(
        "intrinsic dimension",
        f"{place}, {words}",
        None if other is None else getattr(other, name),
        getattr(row, name),
        spread=None if other is None else error(other),
        truth_spread=error(row),
        note=f"{row.n} showers{copies}",
        summary=summary and row.group == "all",
        key=key,
        goal="truth",
        conditions=conditions,
    )


def _error(row: Row) -> float:
    """Standard error of an estimate from k neighbours.

    Each of n points knows the dimension to d / sqrt(k - 1). Points share neighbours, which makes
    the mean's spread larger by a quarter: normal points in 1 to 10 dimensions, n = 300 and 1,000,
    k = 5, 10 and 20 gave 0.92 to 1.44, whichever the mean.
    """
    return 1.25 * row.mackay / math.sqrt(row.n * (row.k - 1))


def _two_nn_error(row: Row) -> float:
    """The same of TwoNN: the same points gave 1.16 to 1.61 times d / sqrt(n)."""
    return 1.4 * row.two_nn / math.sqrt(row.n)


def _pca_error(row: Row) -> float | None:
    return row.local_pca_error


def dimension_figure(real: list[Row], ours: list[Row], labels: tuple[str, str]) -> Figure:
    """Against the number of neighbours; by incident energy and by cluster, where there are."""
    rows = {"energy": _parts(real, False), "cluster": _parts(real, True)}
    parts = [name for name, found in rows.items() if found]
    with house_style():
        image = figure(3.8 + 3.4 * len(parts), 3.8, "constrained")
        panels = image.subplots(1, 1 + len(parts), squeeze=False, sharey=True).ravel()
        _by_k(panels[0], real, ours, labels)
        for ax, name in zip(panels[1:], parts, strict=True):
            for side, colour in ((real, REFERENCE_EDGE), (ours, GENERATED)):
                _by_part(ax, [row.group for row in rows[name]], side, colour)
            ax.set_xlabel("incident energy" if name == "energy" else "cluster")
        panels[0].set_ylim(0, 1.05 * max(ax.dataLim.y1 for ax in panels))
        names, shapes = panels[0].get_legend_handles_labels()[0], _shapes()
        handles = [*names, *shapes]
        legend_below(image, handles, [str(handle.get_label()) for handle in handles])
    return image


def _parts(rows: list[Row], clusters: bool) -> list[Row]:
    """The lines of parts with the largest k."""
    most = max(row.k for row in rows)
    chosen = [row for row in rows if row.k == most and row.group != "all"]
    return [row for row in chosen if row.group.startswith("cluster") == clusters]


def _by_k(ax: Axes, real: list[Row], ours: list[Row], labels: tuple[str, str]) -> None:
    for side, colour, label in ((real, REFERENCE_EDGE, labels[0]), (ours, GENERATED, labels[1])):
        rows = [row for row in side if row.group == "all"]
        if not rows:
            continue
        k = [row.k for row in rows]
        for name, (mark, line) in _LOOKS.items():
            values = [getattr(row, name) for row in rows]
            if name in _AGGREGATIONS:
                said = label if name == "mackay" else None
                ax.plot(k, values, color=colour, marker=mark, linestyle=line, label=said, ms=4)
            elif values[0] is not None:
                ax.axhline(values[0], color=colour, linestyle=line, linewidth=1.0)
    ax.set_xlabel("neighbours k")
    ax.set_ylabel("intrinsic dimension")


def _by_part(ax: Axes, groups: list[str], rows: list[Row], colour: str) -> None:
    most = max((row.k for row in rows), default=0)
    found = {row.group: row for row in rows if row.k == most}
    for name in ("mackay", "two_nn", "local_pca"):
        mark, line = _LOOKS[name]
        values = [getattr(found[g], name) if g in found else None for g in groups]
        ax.plot(
            range(len(groups)), [math.nan if v is None else v for v in values], color=colour,
            marker=mark if name == "mackay" else "", linestyle=line, ms=4,
            linewidth=1.5 if name == "mackay" else 1.0,
        )  # fmt: skip
    step = max(1, len(groups) // _TICKS)
    ticks = range(0, len(groups), step)
    words = [_said(groups[i]) for i in ticks]
    turned = sum(map(len, words)) > _LONG
    ax.set_xticks(
        list(ticks), words, rotation=30 if turned else 0, fontsize=7,
        ha="right" if turned else "center", rotation_mode="anchor",
    )  # fmt: skip


def _said(group: str) -> str:
    if group.startswith("cluster"):
        return group.removeprefix("cluster ")
    return energy_label(group.replace("-", "–"))


def _shapes() -> list[Line2D]:
    """The estimators, in black."""
    words = {"mackay": "MacKay", "unbiased": "unbiased", "mle": "mle", "two_nn": "TwoNN",
             "local_pca": "local PCA"}  # fmt: skip
    return [
        Line2D([], [], color="0.2", marker=mark, linestyle=line, ms=4, label=words[name])
        for name, (mark, line) in _LOOKS.items()
    ]


def voxel_shares(showers: Showers) -> np.ndarray:
    """Voxel energies after the readout cut over their layer's energy, float32, shape (N, V)."""
    geometry, start = showers.geometry, 0
    shares = np.empty((len(showers), geometry.n_voxels), np.float32)
    for _, voxels in showers.iterate(chunk_rows(geometry)):
        block = shares[start : start + len(voxels)]
        block[:] = np.where(voxels >= geometry.threshold, voxels, 0)
        for part in geometry.slices:
            total = block[:, part].sum(1, keepdims=True)
            block[:, part] /= np.where(total > 0, total, 1)
        start += len(voxels)
    return shares
