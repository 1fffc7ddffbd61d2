"""Sums, brightest voxels and broadcasts over the layers of flat voxels."""

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry


class LayerMap(nn.Module):
    """Between voxels (B, V) and layers (B, L), without a loop over the layers of a shower.

    Layers of one shape are a view; layers of several shapes are summed by one matrix product
    with the V x L membership matrix, which beats scatter on CPU and CUDA.

    Args:
        geometry: The detector.
    """

    index: Tensor
    first: Tensor
    membership: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.slices = geometry.slices
        self.sizes = [part.stop - part.start for part in geometry.slices]
        self.uniform = len(set(self.sizes)) == 1
        index = torch.from_numpy(geometry.layer_index)
        width = 0 if self.uniform else geometry.n_layers
        membership = torch.zeros(geometry.n_voxels, width)
        if width:
            membership[torch.arange(geometry.n_voxels), index] = 1.0
        first = torch.tensor([part.start for part in geometry.slices])
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("membership", membership, persistent=False)

    def sum(self, voxels: Tensor) -> Tensor:
        """(B, V) -> (B, L)."""
        if self.uniform:
            return voxels.unflatten(1, (len(self.sizes), -1)).sum(2)
        return voxels @ self.membership.to(voxels.dtype)

    def brightest(self, voxels: Tensor) -> Tensor:
        """Flat index of the largest voxel of each layer: (B, V) -> (B, L), the first of equals."""
        if self.uniform:
            return voxels.unflatten(1, (len(self.sizes), -1)).argmax(2) + self.first
        inside = [part.argmax(1) for part in voxels.split(self.sizes, 1)]
        return torch.stack(inside, 1) + self.first

    def largest(self, voxels: Tensor) -> Tensor:
        """The largest voxel of each layer: (B, V) -> (B, L)."""
        return torch.stack([part.amax(1) for part in voxels.split(self.sizes, 1)], 1)

    def spread(self, layers: Tensor) -> Tensor:
        """Give each voxel the value of its layer: (B, L) -> (B, V)."""
        if self.uniform:
            size = self.sizes[0]
            return layers.unsqueeze(2).expand(-1, -1, size).flatten(1)
        return layers.index_select(1, self.index)
