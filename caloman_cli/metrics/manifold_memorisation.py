r"""Which generated points are memorised, told by two local dimensions of each.

At a point x, a model's density varies in :math:`\mathrm{LID}_\theta(x)` directions, and the data
in :math:`\mathrm{LID}_*(x)`. Two things look like memorisation and have other remedies:

- **overfitting** (OD-Mem), :math:`\mathrm{LID}_\theta < \mathrm{LID}_*`: the model has put a
  point, or something thin, where the data have more room;
- **duplicated data** (DD-Mem), :math:`\mathrm{LID}_*` itself is small: the data repeat themselves
  there, and a model that follows them is right.

The first is FLIPD (:mod:`caloman_cli.metrics.lid`). The second needs no model: Levina and
Bickel's estimate among the training points near x, the median over x and its neighbours. Neither
is right in absolute terms, one depends on the noise and the other on the number of points. So both
are divided by their medians over held-out real points, and a point is flagged where it is beyond
what hardly any held-out point is, and by a margin.

The noise is half as long as the way from a held-out point to the nearest training point: with
more of it training points run into each other and a model that knows nothing else looks like one
that learned.

References:
    Ross, Kamkari, Wu, Hosseinzadeh, Liu, Stein, Cresswell, Loaiza-Ganem (2024), A geometric
    framework for understanding memorization in generative models, arXiv:2411.00113.
    Levina, Bickel (2004), Maximum likelihood estimation of intrinsic dimension, NeurIPS 17.
"""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from caloman_cli.config.values import Positive, Share, checked
from caloman_cli.errors import UserError
from caloman_cli.metrics.lid import LocalDimension, TakesNoiseOff, time_of
from caloman_cli.metrics.neighbours import nearest
from caloman_cli.metrics.points import Table

_LEAST = 100  # points of each set


class Pair(NamedTuple):
    """The two local dimensions of M points, float64.

    Args:
        model: FLIPD, shape (M,).
        data: Of training points nearby, shape (M,); 0 where most of these are one.
    """

    model: np.ndarray
    data: np.ndarray


class Flags(NamedTuple):
    """Of M points, bool, shape (M,) each.

    Args:
        overfitted: The model has fewer directions than the data.
        duplicated: The data have few directions.
    """

    overfitted: np.ndarray
    duplicated: np.ndarray


class Limits(NamedTuple):
    """What held-out points calibrate.

    Args:
        model: Their median of the model's dimension.
        data: Their median of the data's.
        ratio: Of the two over these medians, below which a point is overfitted.
        least: The data's dimension up to which a point is duplicated.
    """

    model: float
    data: float
    ratio: float
    least: float


class Judged(NamedTuple):
    """What was found.

    Args:
        noise: Over the signal, of FLIPD.
        held: Dimensions of held-out points.
        generated: Dimensions of generated points.
        limits: From all held-out points.
        flags: Of generated points.
        held_flags: Of held-out points, each half by the limits of the other.
    """

    noise: float
    held: Pair
    generated: Pair
    limits: Limits
    flags: Flags
    held_flags: Flags


def nearby_dimensions(
    train: np.ndarray, k: int, *queries: np.ndarray, device: torch.device | str = "cpu"
) -> list[np.ndarray]:
    """Dimensions of training points (N, D) near points (M, D), float64, shape (M,) each.

    The median of the inverse estimates from k neighbours, over a point and its k nearest training
    points: a few training points that are equal do not make it 0, where most are they do.
    """
    points = Table(train)
    own = _inverse(nearest(points, k, device=device)[0])
    found = []
    for query in queries:
        distances, rows = nearest(points, k, Table(query), device)
        inverse = np.column_stack([_inverse(distances), own[rows]])
        found.append(1 / np.median(inverse, axis=1))  # 0 where it is infinite
    return found


def _inverse(distances: np.ndarray) -> np.ndarray:
    """One over Levina and Bickel's estimate, from sorted distances (M, k); infinite of copies."""
    last, others = distances[:, -1:], distances[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(others > 0, np.log(last / others), np.inf)
    # All at one distance, a lattice, is as if there were directions without end.
    means: np.ndarray = np.maximum(logs.mean(1), np.finfo(np.float64).tiny)
    return means


@checked
class DimensionTest:
    """Flags generated points that are overfitted or duplicated.

    Args:
        k: Neighbours of the data's dimension.
        quantile: Share of held-out points that a limit leaves beyond it.
        margin: Below which share of what held-out points have a dimension must lie, too.
        noise: Over the signal, of FLIPD. None: half as long as the way to the nearest
            training point.

    Attributes:
        device: Where neighbours are screened.
    """

    def __init__(
        self,
        k: Annotated[int, Ge(3)] = 20,
        quantile: Share = 0.01,
        margin: Share = 0.5,
        noise: Positive | None = None,
    ) -> None:
        self.k, self.quantile, self.margin, self.noise = k, quantile, margin, noise
        self.dimension = LocalDimension()
        self.device: torch.device | str = "cpu"

    def __call__(
        self,
        model: TakesNoiseOff,
        train: Tensor,
        held: tuple[Tensor, Tensor],
        generated: tuple[Tensor, Tensor],
    ) -> Judged:
        """Judge generated points.

        Args:
            model: Takes noise off.
            train: Training points, shape (N, D).
            held: Real points that were not trained on, (T, D), and their conditions, (T, C).
            generated: Points to judge, (M, D), and their conditions, (M, C).

        Raises:
            UserError: Fewer than 100 points in a set, or not more than k training points.
        """
        for name, n in (("training", len(train)), ("held-out", len(held[0]))):
            if n < max(_LEAST, self.k + 1):
                raise UserError(
                    f"{n} {name} showers: this needs {max(_LEAST, self.k + 1)} or more"
                )
        known, real, ours = (
            points.double().cpu().numpy() for points in (train, held[0], generated[0])
        )
        of_real, of_ours = nearby_dimensions(known, self.k, real, ours, device=self.device)
        noise = self.noise or self._noise(known, real, of_real)
        t = time_of(model, noise, train)
        of_held = Pair(self.dimension.flipd(model, *held, t), of_real)
        judged = Pair(self.dimension.flipd(model, *generated, t), of_ours)
        limits = self.limits(of_held)
        crossed = self._crossed(of_held)
        return Judged(noise, of_held, judged, limits, flags(judged, limits), crossed)

    def limits(self, held: Pair) -> Limits:
        """What held-out points calibrate."""
        model, data = float(np.median(held.model)), float(np.median(held.data))
        if not (model > 0 and data > 0):
            raise UserError(
                f"real showers have a local dimension of {model:.3g} by the model and {data:.3g} "
                "by their neighbours: there is nothing to compare with, try another noise"
            )
        ratios = _ratios(held, model, data)
        return Limits(
            model,
            data,
            min(float(np.quantile(ratios, self.quantile, method="lower")), self.margin),
            min(float(np.quantile(held.data, self.quantile, method="lower")), self.margin * data),
        )

    def _crossed(self, held: Pair) -> Flags:
        """Flags of each half of held-out points by the limits of the other."""
        nothing = np.zeros((2, len(held.model)), bool)
        found = Flags(nothing[0], nothing[1])
        for start in (0, 1):
            part, other = slice(start, None, 2), slice(1 - start, None, 2)
            limits = self.limits(Pair(held.model[other], held.data[other]))
            judged = flags(Pair(held.model[part], held.data[part]), limits)
            found.overfitted[part], found.duplicated[part] = judged
        return found

    def _noise(self, train: np.ndarray, held: np.ndarray, dimensions: np.ndarray) -> float:
        apart = nearest(Table(train), 1, Table(held), self.device)[0][:, 0]
        apart, dimensions = apart[apart > 0], dimensions[dimensions > 0]
        if not (len(apart) and len(dimensions)):
            raise UserError("the held-out showers' latents are the training showers'")
        return float(np.median(apart) / 2 / np.median(dimensions) ** 0.5)


def flags(points: Pair, limits: Limits) -> Flags:
    """Which points are overfitted and which duplicated."""
    ratios = _ratios(points, limits.model, limits.data)
    return Flags(ratios < limits.ratio, points.data <= limits.least)


def _ratios(points: Pair, model: float, data: float) -> np.ndarray:
    """The model's dimension over the data's, each over its median; infinite of copies."""
    ours, theirs = np.maximum(points.model, 0) / model, points.data / data
    return np.divide(ours, theirs, out=np.full(len(ours), np.inf), where=theirs > 0)
