r"""Exact nearest neighbours of many points in bounded memory.

All distances are bounded from below in float32, where matrix products are fast; the few pairs
that matter are then computed in float64 from differences of coordinates. With unit roundoff u,
coordinates relative to a common pivot and a product of width d, any order of summation gives

.. math::
    \bigl| \mathrm{fl}(|x|^2 + |y|^2 - 2 x \cdot y) - |x - y|^2 \bigr|
    \le \gamma (|x|^2 + |y|^2), \qquad \gamma = (d + 16) u

(Higham (2002), Accuracy and stability of numerical algorithms, chapter 3), so that scaling both
norms by :math:`1 - \gamma` gives a lower bound of the squared distance. Points are ordered along
one direction: blocks that are further apart along it than any distance asked for are skipped.
Results are those of a float64 search of all pairs of differences, whatever the device; points
that are exactly as far as the k-th neighbour may stand in for it.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from caloman_cli.metrics.points import Points

SPARE = 4  # more neighbours than asked for are kept, so that rounding rarely leaves a doubt
RESIDENT_BYTES = 1536 * 1024**2  # float32 points that may stay in memory; others are built anew
CHUNK_BYTES = 64 * 1024**2
DIRECTION_ROWS = 1000


class Axis:
    """The origin and the direction that a search uses; results do not depend on them."""

    def __init__(self, points: Points) -> None:
        n = len(points)
        rows = points.rows(np.unique(np.linspace(0, n - 1, min(n, DIRECTION_ROWS)).astype(int)))
        self.pivot = rows.mean(0)
        _, _, directions = np.linalg.svd(rows - self.pivot, full_matrices=False)
        self.direction = directions[0] / np.linalg.norm(directions[0])


class Screen:
    """Points in float32 and in the order of an axis, a block at a time.

    Args:
        points: N points.
        axis: The search's origin and direction.
        device: Where blocks go.
    """

    def __init__(self, points: Points, axis: Axis, device: torch.device) -> None:
        n, width = len(points), points.width
        self.points, self.axis, self.device = points, axis, device
        self.block = 8192 if device.type == "cuda" else 2048
        self.gamma = (width + 16) * 2.0**-24
        along, norms = np.empty(n), np.empty(n)
        for part in _chunks(np.arange(n), 8 * width):
            shifted = points.rows(part) - axis.pivot
            along[part] = shifted @ axis.direction
            norms[part] = np.einsum("ij,ij->i", shifted, shifted)
        self.order = np.argsort(along, kind="stable")
        self.along, self.norms = along[self.order], norms[self.order]
        # What rounding may do to projections in float64.
        self.noise = (width + 4) * 2.0**-52 * float(np.sqrt(norms.max()))
        shrunk = (self.norms * (1 - self.gamma)).astype(np.float32)
        self.shrunk = torch.from_numpy(shrunk).to(device)
        self.resident: Tensor | None = None
        if 4 * n * width <= self._budget():
            self.resident = torch.empty((n, width), device=device)
            for part in _chunks(np.arange(n), 8 * width):
                self.resident[part[0] : part[-1] + 1] = self._build(part)
        else:  # every pass builds all blocks anew: fewer, larger passes
            self.block *= 4

    def _budget(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0] // 3
        return RESIDENT_BYTES

    def _build(self, positions: np.ndarray) -> Tensor:
        shifted = self.points.rows(self.order[positions]) - self.axis.pivot
        return torch.from_numpy(shifted.astype(np.float32)).to(self.device)

    def blocks(self) -> list[slice]:
        n = len(self.order)
        return [slice(a, min(a + self.block, n)) for a in range(0, n, self.block)]

    def read(self, block: slice) -> Tensor:
        if self.resident is not None:
            return self.resident[block]
        return self._build(np.arange(block.start, block.stop))

    def gap(self, block: slice, other: "Screen", theirs: slice) -> float:
        """Lower bound of the squared distance between two blocks."""
        ours, them = self.along[block], other.along[theirs]
        gap = max(ours[0] - them[-1], them[0] - ours[-1]) - self.noise - other.noise
        return max(gap, 0.0) ** 2

    def lower(self, block: slice, rows: Tensor, other: "Screen", theirs: slice) -> Tensor:
        """Lower bounds of squared distances, float32, shape (rows, other rows)."""
        columns = other.read(theirs)
        bounds = torch.addmm(other.shrunk[theirs], rows, columns.T, alpha=-2)
        return bounds.add_(self.shrunk[block, None])


def nearest(
    points: Points, k: int, queries: Points | None = None, device: torch.device | str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points of every query, exactly.

    Args:
        points: N points to search.
        k: Number of neighbours, at most N (N - 1 of points among themselves).
        queries: M points to search for. None: the points themselves, each without itself.
        device: Where float32 products are computed.

    Returns:
        Distances, float64, rising, shape (M, k), and rows of ``points``, int64, shape (M, k).
    """
    axis, where = Axis(points), torch.device(device)
    screen = Screen(points, axis, where)
    asking = screen if queries is None else Screen(queries, axis, where)
    available = len(points) - (queries is None)
    if not 1 <= k <= available:
        raise ValueError(f"{k} neighbours of {len(points)} points")
    width = min(k + SPARE, available)
    with full_precision():
        if queries is None:
            bounds, found = _among(screen, width)
        else:
            bounds, found = _between(asking, screen, width)
    rows = np.empty((len(asking.order), width), np.int64)
    least = np.empty(len(asking.order))
    rows[asking.order] = screen.order[found.cpu().numpy()]
    least[asking.order] = bounds[:, -1].double().cpu().numpy()
    return _settle(points, queries, k, rows, least, exhausted=width == available)


def squared_distances(first: Points, i: np.ndarray, second: Points, j: np.ndarray) -> np.ndarray:
    """Squared distances of pairs (i, j) from differences of coordinates, float64, (len(i),).

    The same pair gives the same bits in every call and in either order.
    """
    values = np.empty(len(i))
    for part in _chunks(np.arange(len(i)), 24 * first.width):
        difference = first.rows(i[part]) - second.rows(j[part])
        values[part] = np.einsum("ij,ij->i", difference, difference)
    return values


def _among(screen: Screen, width: int) -> tuple[Tensor, Tensor]:
    """Each point's ``width`` smallest lower bounds among the others, by positions on the axis."""
    blocks = screen.blocks()
    lists = [_empty(block, width, screen.device) for block in blocks]

    def visit(a: int, b: int, rows: Tensor) -> None:
        lower = screen.lower(blocks[a], rows, screen, blocks[b])
        if a == b:
            lower.fill_diagonal_(torch.inf)
        lists[a] = _merged(lists[a], lower, blocks[b].start)
        if a != b:  # one product serves both sides
            lists[b] = _merged(lists[b], lower.T.contiguous(), blocks[a].start)

    for a, block in enumerate(blocks):  # neighbours on the axis first: later blocks are skipped
        visit(a, a, screen.read(block))
    for a, block in enumerate(blocks):
        rows = screen.read(block)
        for b in range(a + 1, len(blocks)):
            limit = max(float(lists[a][0][:, -1].max()), float(lists[b][0][:, -1].max()))
            if screen.gap(block, screen, blocks[b]) <= limit:
                visit(a, b, rows)
    return _joined(lists)


def _between(asking: Screen, screen: Screen, width: int) -> tuple[Tensor, Tensor]:
    """Each query's ``width`` smallest lower bounds, by positions on the axis."""
    blocks, lists = screen.blocks(), []
    for block in asking.blocks():
        rows, kept = asking.read(block), _empty(block, width, asking.device)
        gaps = [asking.gap(block, screen, theirs) for theirs in blocks]
        for b in np.argsort(gaps, kind="stable"):
            if gaps[b] <= float(kept[0][:, -1].max()):
                lower = asking.lower(block, rows, screen, blocks[b])
                kept = _merged(kept, lower, blocks[b].start)
        lists.append(kept)
    return _joined(lists)


def _empty(block: slice, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    shape = (block.stop - block.start, width)
    values = torch.full(shape, torch.inf, device=device)
    return values, torch.full(shape, -1, dtype=torch.int64, device=device)


def _joined(lists: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    values, index = zip(*lists, strict=True)
    return torch.cat(values), torch.cat(index)


def _merged(kept: tuple[Tensor, Tensor], lower: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """The smallest of sorted lists (rows, width) and of new bounds (rows, columns)."""
    values, index = kept
    width = values.shape[1]
    if bool(torch.isinf(values[:, -1]).any()):
        new = torch.arange(start, start + lower.shape[1], device=lower.device).expand_as(lower)
        candidates = lower
    else:  # few beat the lists: gather those instead of sorting all
        row, column = (lower < values[:, -1:]).nonzero(as_tuple=True)
        if len(row) == 0:
            return kept
        counts = torch.bincount(row, minlength=len(lower))
        slot = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        shape = (len(lower), int(counts.max()))
        candidates = torch.full(shape, torch.inf, device=lower.device)
        new = torch.full(shape, -1, dtype=torch.int64, device=lower.device)
        candidates[row, slot], new[row, slot] = lower[row, column], start + column
    best = torch.cat([values, candidates], 1).topk(width, dim=1, largest=False, sorted=True)
    return best.values, torch.cat([index, new], 1).gather(1, best.indices)


def _settle(
    points: Points,
    queries: Points | None,
    k: int,
    rows: np.ndarray,
    least: np.ndarray,
    exhausted: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Sort candidates by their float64 distances; search anew where rounding leaves a doubt."""
    source = points if queries is None else queries
    n, width = rows.shape
    asked = np.repeat(np.arange(n), width)
    exact = squared_distances(source, asked, points, rows.ravel()).reshape(n, width)
    order = np.argsort(exact, axis=1, kind="stable")[:, :k]
    exact = np.take_along_axis(exact, order, 1)
    rows = np.take_along_axis(rows, order, 1)
    # A point outside of the list is at least as far as the list's largest lower bound.
    doubtful = (exact[:, -1] > least) & (exact[:, -1] > 0) & (not exhausted)
    for query in np.flatnonzero(doubtful):
        everyone = np.arange(len(points))
        values = squared_distances(source, np.full(len(points), query), points, everyone)
        if queries is None:
            values[query] = np.inf
        rows[query] = np.argsort(values, kind="stable")[:k]
        exact[query] = values[rows[query]]
    return np.sqrt(exact), rows


def _chunks(index: np.ndarray, row_bytes: int) -> Iterator[np.ndarray]:
    """Consecutive parts of an index whose rows take a bounded number of bytes."""
    size = max(1, CHUNK_BYTES // row_bytes)
    starts = itertools.chain(range(0, len(index), size), [len(index)])
    return (index[a:b] for a, b in itertools.pairwise(starts))


@contextmanager
def full_precision() -> Iterator[None]:
    """Products in true float32: the bounds above do not hold for TF32 or bfloat16."""
    held = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(held)
