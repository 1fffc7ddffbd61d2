"""The space in which samples are compared: high-level features or voxels."""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from caloman_cli.config.values import checked
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.features import feature_matrix
from caloman_cli.metrics.points import LogVoxels
from caloman_cli.metrics.precision_recall import corrected_empty

SpaceName = Literal["high", "voxels"]
Largest = Annotated[int, Ge(100)]
LARGEST_BYTES = 4 * 2**30


@checked
class Space:
    """Rows of numbers that stand for showers.

    Args:
        name: ``high``: the features of the high-level classifier; ``voxels``: decimal logarithms
            of voxel energies, empty ones at half of the readout cut.
        max_showers: Of each set, spread over it. None: all.
    """

    def __init__(self, name: SpaceName = "high", max_showers: Largest | None = None) -> None:
        self.name, self.max_showers = name, max_showers

    @property
    def words(self) -> str:
        """What the space is, for a reader."""
        return "high-level features" if self.name == "high" else "logarithms of voxels"

    @property
    def conditions(self) -> dict[str, str | float | None]:
        """What scores in this space depend on."""
        return {"space": self.name, "showers at most": self.max_showers}

    def __call__(self, comparison: Comparison, showers: Showers) -> np.ndarray:
        """float64, shape (N, d).

        Raises:
            UserError: The array would not fit into 4 GiB.
        """
        n = len(showers) if self.max_showers is None else min(len(showers), self.max_showers)
        if self.name == "high":
            matrix = feature_matrix(comparison.classifier_features(showers))
            return matrix if n == len(matrix) else matrix[np.arange(n) * len(matrix) // n]
        if 8 * n * showers.geometry.n_voxels > LARGEST_BYTES:
            limit = LARGEST_BYTES // (8 * showers.geometry.n_voxels)
            raise UserError(
                f"{n:,} showers of {showers.geometry.n_voxels:,} voxels do not fit into memory as "
                f"features: set max_showers={limit} or less"
            )
        cut = showers.geometry.threshold
        chosen = spread(showers, n)
        cloud = LogVoxels.of(chosen, comparison.cache_dir, cut, corrected_empty(cut))
        return cloud.rows(np.arange(len(cloud)))
