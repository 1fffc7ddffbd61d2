"""From MeV to shares: the readout cut, shares of a layer, shares of the incident energy."""

import torch
from torch import Tensor

from caloman_cli.data.geometry import Geometry
from caloman_cli.models.checks import somewhere
from caloman_cli.models.preprocess.base import Context, Transform
from caloman_cli.models.preprocess.layers import LayerMap

_NOTHING = 1e-20  # shares below add up to nothing: E / share must stay finite in float32


class Threshold(Transform):
    """The readout cut: voxel energies below the geometry's threshold become zero.

    Forward it is what the detector does. Inverse it does the same to generated voxels; with
    ``keep_sums`` the survivors of a layer share what was cut, and the brightest voxel of a layer
    always survives, so that a layer's energy is not changed by the cut. On showers that are
    already cut both directions are the identity.

    Args:
        keep_sums: Restore each layer's energy after the cut of generated voxels.
    """

    def __init__(self, keep_sums: bool = True) -> None:
        super().__init__()
        self.keep_sums = keep_sums

    def bind(self, geometry: Geometry) -> None:
        self.threshold = geometry.threshold
        self.layers = LayerMap(geometry)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.cut(x)

    def cut(self, voxels: Tensor) -> Tensor:
        """The readout cut alone: (B, V) MeV -> (B, V) MeV."""
        return torch.where(voxels >= self.threshold, voxels, 0.0)

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        kept = self.cut(x)
        if not self.keep_sums:
            return kept
        brightest = self.layers.brightest(x)
        kept = kept.scatter(1, brightest, x.gather(1, brightest))
        before, after = self.layers.sum(x), self.layers.sum(kept)
        return kept * self.layers.spread(before / after.clamp(min=_NOTHING))

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        """0: of what is cut nothing is left, the rest stays as it is."""
        return x.new_zeros(len(x), dtype=torch.float64)


class LayerShare(Transform):
    r"""A voxel's share of its layer, :math:`v = E_{vox} / E_l`; 0 where the layer is empty.

    Inverse multiplies by the context's layer energies. Negative shares count as zero.

    Args:
        renormalise: Rescale the decoded shares of each layer to the sum one, so that generated
            layers have exactly the energy they were given. A layer without a positive share
            gives its energy to its largest decoded voxel.
    """

    def __init__(self, renormalise: bool = True) -> None:
        super().__init__()
        self.renormalise = renormalise

    def bind(self, geometry: Geometry) -> None:
        self.layers = LayerMap(geometry)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x / self.layers.spread(context.layers.clamp(min=_NOTHING))

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        shares = x.clamp(min=0.0)
        if not self.renormalise:
            return shares * self.layers.spread(context.layers)
        total = self.layers.sum(shares)
        lost = (total < _NOTHING) & (context.layers > 0)
        if somewhere(lost):
            single = torch.zeros_like(x).scatter(1, self.layers.brightest(x), 1.0)
            shares = torch.where(self.layers.spread(lost), single, shares)
            total = self.layers.sum(shares)
        return shares * self.layers.spread(context.layers / total.clamp(min=_NOTHING))

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        """Minus the log of its layer's energy for every voxel; nothing in empty layers."""
        log_energy = torch.where(context.layers > 0, context.layers, 1.0).double().log()
        return -self.layers.spread(log_energy).sum(1)


class EnergyShare(Transform):
    r"""A voxel's share of the largest visible energy, :math:`v = E_{vox} / (f E_{inc})`.

    f is the geometry's ``max_response``. The generated layer energies do not enter.
    """

    def bind(self, geometry: Geometry) -> None:
        self.max_response = geometry.max_response

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x / (self.max_response * context.e_inc)

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        return x.clamp(min=0.0) * (self.max_response * context.e_inc)

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        return -x.shape[1] * (self.max_response * context.e_inc.double()[:, 0]).log()
