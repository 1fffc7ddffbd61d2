r"""Does a model replay its training showers?

=================  ==========================================================================
copies             generated points that equal a training point exactly
near copies        generated points whose nearest training point is much nearer than the next
                   ones: d_1 over the mean of d_1 ... d_k, below the quantile of real, held-out
                   points
authentic          share of generated points that lie further from their nearest training point
                   than that lies from any other training point [%]
C_T                Mann-Whitney z of distances to the training sample, generated against
                   held-out, averaged over cells: far below 0 for copies, far above for
                   showers that are off
=================  ==========================================================================

References:
    Alaa et al. (2022), How faithful is your synthetic data?, arXiv:2102.08921 (authenticity).
    Meehan, Chaudhuri, Dasgupta (2020), A non-parametric test to detect data-copying in generative
    models, arXiv:2004.05675 (C_T). Yoon et al. (2023), Diffusion probabilistic models generalize
    when they fail to memorize (nearest-neighbour ratio).
"""

import logging
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from caloman_cli.config.values import Count, Several, Share, checked
from caloman_cli.errors import UserError
from caloman_cli.metrics.neighbours import nearest
from caloman_cli.metrics.points import Table
from caloman_cli.metrics.samples import batch_errors, enough, standardised

log = logging.getLogger(__name__)

FEW = 20  # generated points in a cell below which C_T leaves it out
COMPONENTS = 64
BATCHES = 10  # disjoint parts that give the error of the authentic share


class Nearby(NamedTuple):
    """How near the training points are to others.

    Attributes:
        generated: Distance of each generated point to the nearest training point, (M,).
        reference: The same of the held-out points, (T,).
        generated_ratios: That distance over the mean of those to the k nearest ones, (M,).
        reference_ratios: The same of the held-out points, (T,).
        limit: Ratio below which a point counts as a near copy.
    """

    generated: np.ndarray
    reference: np.ndarray
    generated_ratios: np.ndarray
    reference_ratios: np.ndarray
    limit: float


@checked
class CopyTest:
    """Compare generated and held-out real points by their distances to the training points.

    Each number stands beside that of the held-out points themselves: equal numbers say that the
    generated sample remembers no more than an independent one would seem to.

    Args:
        k: Neighbours that the nearest one is compared with.
        quantile: Of held-out ratios, below which a point counts as a near copy.
        cells: Cells of C_T.
        standardise: Whether to scale features by the training sample's standard deviations.
        seed: Of the cells.
        device: Where distances are screened.
    """

    def __init__(
        self,
        k: Several = 50,
        quantile: Share = 0.01,
        cells: Count = 3,
        standardise: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.k, self.quantile, self.cells = k, quantile, cells
        self.standardise, self.seed = standardise, seed
        self.device = torch.device(device)

    def __call__(
        self, reference: np.ndarray, generated: np.ndarray, train: np.ndarray
    ) -> dict[str, float]:
        """Look for training points in a generated sample.

        Args:
            reference: Held-out real features, shape (T, d).
            generated: Features to judge, shape (M, d).
            train: What the model was trained on, shape (N, d).

        Returns:
            ``copies`` and ``copies_reference``, shares of points that are in the training
            sample; ``near_copies``, its expectation ``near_copies_reference`` and
            ``near_copies_error``; ``authentic``, ``authentic_error`` and ``authentic_reference``
            [%]; ``ct``, whose error is ``ct_error`` where nothing is copied.

        Raises:
            UserError: A sample has fewer than 100 rows, the columns differ, or the held-out
                points are training points.
        """
        return self.examine(reference, generated, train)[0]

    def examine(
        self, reference: np.ndarray, generated: np.ndarray, train: np.ndarray
    ) -> tuple[dict[str, float], Nearby]:
        """What a call returns, and the distances that it was found by."""
        held, sample, known = enough(100, reference=reference, generated=generated, train=train)
        if self.standardise:
            known, held, sample = standardised(known, held, sample)
        k = min(self.k, len(known) - 1)
        points = Table(known)
        own = nearest(points, 1, device=self.device)[0][:, 0]
        far, rows = nearest(points, k, Table(sample), self.device)
        held_far, held_rows = nearest(points, k, Table(held), self.device)
        copied = float((held_far[:, 0] == 0).mean())
        if copied > 0.5:
            raise UserError(
                f"{100 * copied:.0f} % of the reference showers are in the training file: "
                "memorisation needs held-out showers"
            )
        authentic = own[rows[:, 0]] < far[:, 0]
        held_ratios = _ratios(held_far)
        limit = float(np.quantile(held_ratios, self.quantile))
        nearby = Nearby(far[:, 0], held_far[:, 0], _ratios(far), held_ratios, limit)
        near = float((nearby.generated_ratios < limit).mean())
        variance = near * (1 - near) / len(sample)
        variance += self.quantile * (1 - self.quantile) / len(held)
        score, error = self.data_copying(held, sample, known)
        found = {
            "copies": float((far[:, 0] == 0).mean()),
            "copies_reference": copied,
            "near_copies": near,
            "near_copies_reference": float((held_ratios < limit).mean()),
            "near_copies_error": float(np.sqrt(variance)),
            "authentic": 100 * float(authentic.mean()),
            "authentic_error": self._authentic_error(sample, known),
            "authentic_reference": 100 * float((own[held_rows[:, 0]] < held_far[:, 0]).mean()),
            "ct": score,
            "ct_error": error,
        }
        return found, nearby

    def _authentic_error(self, sample: np.ndarray, train: np.ndarray) -> float:
        """From disjoint parts: neighbours of one training point are not independent."""

        def statistic(sample: np.ndarray, train: np.ndarray) -> dict[str, float]:
            points = Table(train)
            own = nearest(points, 1, device=self.device)[0][:, 0]
            far, rows = nearest(points, 1, Table(sample), self.device)
            return {"authentic": 100 * float((own[rows[:, 0]] < far[:, 0]).mean())}

        batches = max(2, min(BATCHES, len(sample) // 50, len(train) // 50))
        return batch_errors(statistic, [sample, train], batches, self.seed)["authentic"]

    def data_copying(
        self, held: np.ndarray, sample: np.ndarray, train: np.ndarray
    ) -> tuple[float, float]:
        """C_T and its standard deviation where nothing is copied.

        Cells are k-means clusters of the training points, in their first 64 principal components
        where there are more features. Cells with fewer than 20 generated points or without real
        ones are left out.

        Raises:
            UserError: No cell is left.
        """
        if train.shape[1] > COMPONENTS:
            projection = PCA(COMPONENTS, svd_solver="full").fit(train)
            held, sample, train = (projection.transform(x) for x in (held, sample, train))
        cells = KMeans(self.cells, n_init=10, random_state=self.seed).fit(train)
        labels = [cells.predict(x) for x in (held, sample, train)]
        scores, weights = [], []
        for cell in range(self.cells):
            ours, theirs, base = (
                x[label == cell] for x, label in zip((held, sample, train), labels, strict=True)
            )
            if min(len(ours), len(base)) == 0 or len(theirs) < FEW:
                log.warning("C_T leaves out cell %d: %d generated showers", cell, len(theirs))
                continue
            scores.append(self._z(ours, theirs, base))
            weights.append(len(ours))
        if not scores:
            raise UserError("no cell has enough generated showers for C_T: give more showers")
        shares = np.array(weights) / np.sum(weights)
        return float(shares @ scores), float(np.sqrt(np.sum(shares**2)))

    def _z(self, held: np.ndarray, sample: np.ndarray, train: np.ndarray) -> float:
        """Standardised Mann-Whitney statistic of distances to the nearest training point."""
        theirs, ours = (
            nearest(Table(train), 1, Table(x), self.device)[0][:, 0] for x in (sample, held)
        )
        n, m = len(ours), len(theirs)
        statistic = mannwhitneyu(theirs, ours, alternative="less", method="asymptotic").statistic
        return float((statistic - (n * m / 2 - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12))


def _ratios(distances: np.ndarray) -> np.ndarray:
    """Nearest distance over the mean of all, 1 where all neighbours are in one place; (M,)."""
    mean = distances.mean(1)
    apart = mean > 0
    return np.divide(distances[:, 0], mean, out=np.ones(len(mean)), where=apart)
