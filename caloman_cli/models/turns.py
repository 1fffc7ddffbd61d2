"""Rotations about the axis, with and without mirroring, that map voxels on voxels."""

import math

import torch
from torch import Tensor

from caloman_cli.data.geometry import Geometry


class Turns:
    """The group of them: as many steps as all layers' slices allow, each mirrored or not.

    A symmetry of detectors that particles enter at normal incidence, without a magnetic field.

    Args:
        geometry: The detector.

    Attributes:
        count: How many there are; 1 where no layer has slices.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.layers = [
            (layer, part)
            for layer, part in zip(geometry.layers, geometry.slices, strict=True)
            if layer.n_alpha > 1
        ]
        slices = [layer.n_alpha for layer, _ in self.layers]
        self.count = 2 * math.gcd(*slices) if slices else 1

    def __call__(self, x: Tensor, turn: Tensor) -> Tensor:
        """Showers rotated and mirrored or not, all layers of one alike.

        Args:
            x: Showers, (B, V).
            turn: Which of the ``count``, int64 (B,); odd ones mirror, 0 does nothing.
        """
        x = x.clone()
        for layer, part in self.layers:
            image = x[:, part].unflatten(1, (layer.n_alpha, layer.n_r))
            source = self.source(layer.n_alpha, turn).unsqueeze(2).expand_as(image)
            x[:, part] = image.gather(1, source).flatten(1)
        return x

    def source(self, slices: int, turn: Tensor) -> Tensor:
        """From which slice each one of a layer comes, (B, slices), by turns (B,)."""
        step, mirrored = turn[:, None] // 2, turn[:, None] % 2 > 0
        own = torch.arange(slices, device=turn.device)
        source = torch.where(mirrored, -1 - own, own) + step * (2 * slices // self.count)
        return source % slices

    def undone(self, turn: Tensor) -> Tensor:
        """The turns that bring back what ``turn`` (B,) has turned; a mirrored one is its own."""
        back = 2 * (-(turn // 2) % (self.count // 2 or 1))
        return torch.where(turn % 2 > 0, turn, back)
