"""What is corrected of showers after they are drawn, measured on training showers."""

from collections.abc import Callable

from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.models.trainable import RowSource

Generate = Callable[[Tensor, int], Tensor]
"""(incident energies (B, 1) [MeV], number of the first row) -> voxels (B, V) [MeV]."""


class Calibration(nn.Module):
    """A map of generated showers (B, V) -> (B, V) [MeV], measured on training showers.

    Args (given at build time, never in YAML):
        geometry: The detector.
    """

    def __init__(self, *, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry

    def fit(self, train: RowSource, generate: Generate) -> None:
        """Measure; called once, after the last stage.

        Args:
            train: Rows (voxels (V,) [MeV], incident energies (1,) [MeV]) of the training split.
            generate: Draws from the model without the calibration.
        """
        raise NotImplementedError


class Unchanged(Calibration):
    """Showers stay as they are drawn."""

    def fit(self, train: RowSource, generate: Generate) -> None:
        pass

    def forward(self, voxels: Tensor) -> Tensor:
        return voxels
