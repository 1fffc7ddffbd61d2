"""How a decoder speaks about voxels."""

import math

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.noise import Noise
from caloman_cli.preprocess.conditions import Conditions
from caloman_cli.trainable import RowSource


class Head(nn.Module):
    """A distribution of x (B, V) whose parameters are a decoder's output.

    Args (given at build time, never in YAML):
        geometry: The detector.
        conditions: What c says of a shower; a head may read the layers' energies from it.

    Attributes:
        x_dim: V.
        out_dim: Width of the raw decoder output.
        feature_dim: Width of :meth:`features`.
        footprint: Numbers per shower that exist at once while sampling.
    """

    out_dim: int
    feature_dim: int
    footprint: int

    def __init__(self, *, geometry: Geometry, conditions: Conditions) -> None:
        super().__init__()
        self.geometry = geometry
        # In a tuple: the module belongs to the preprocessing, which saves its statistics.
        self._conditions = (conditions,)
        self.x_dim = self.feature_dim = geometry.n_voxels

    @property
    def conditions(self) -> Conditions:
        return self._conditions[0]

    def prepare(self, train: RowSource) -> None:
        """Set statistics from training rows (x (V,), c (C,)); called before the first step."""

    def features(self, x: Tensor) -> Tensor:
        """How an encoder's network reads x (B, V): shape (B, feature_dim)."""
        return x

    def params(self, raw: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        """Split and constrain a decoder's raw output (B, out_dim) at conditions c (B, C)."""
        raise NotImplementedError

    def from_mean(self, mean: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        """Parameters of a decoder in closed form: mean (B, V), sigma of shape (V,) or scalar.

        Raises:
            UserError: The head cannot express a plain mean.
        """
        raise NotImplementedError

    def sample(self, params: tuple[Tensor, ...], noise: Noise) -> Tensor:
        """What generation uses: x (B, V), row i from row i of the parameters and the noise."""
        raise NotImplementedError

    def mean(self, params: tuple[Tensor, ...]) -> Tensor:
        """One point x (B, V) for the distribution, differentiable: its expectation, or near it."""
        raise NotImplementedError

    def log_prob(self, params: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """log p(x | params) summed over voxels [nats], shape (B,)."""
        raise NotImplementedError

    def turned(self, x: Tensor) -> Tensor:
        """The batch x (B, V) rotated by a random angle about the axis and mirrored or not.

        All layers turn by the same angle, a multiple of a common slice. A symmetry of detectors
        that particles enter at normal incidence, without a magnetic field. The angle comes from
        torch's generator.
        """
        slices = [layer.n_alpha for layer in self.geometry.layers if layer.n_alpha > 1]
        steps = math.gcd(*slices) if slices else 1
        step, mirrored = (int(torch.randint(n, ())) for n in (steps, 2))
        parts = []
        for layer, part in zip(self.geometry.layers, self.geometry.slices, strict=True):
            image = x[:, part].unflatten(1, (layer.n_alpha, layer.n_r))
            image = image.roll(step * layer.n_alpha // steps, 1) if layer.n_alpha > 1 else image
            parts.append((image.flip(1) if mirrored else image).flatten(1))
        return torch.cat(parts, 1)
