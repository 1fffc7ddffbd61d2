"""What heads have in common that speak about shares of a layer's energy."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from caloman_cli.config.options import option_of
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.checks import somewhere
from caloman_cli.models.heads import mixture
from caloman_cli.models.heads.base import Head
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.preprocess.layers import LayerMap
from caloman_cli.models.trainable import RowSource, iterate

Params = TypeVar("Params", bound=tuple)

_CHUNK_VALUES = 1 << 22
_NOTHING = 1e-12  # a share below any voxel's
_PSEUDO = 20.0  # lit entries that a group of voxels lends to each of its members
_WIDTHS = (0.05, 0.2)  # smallest standard deviation of a log-share: of a voxel, of a group


class LogShares(nn.Module):
    """Mean and standard deviation of log-shares (\\*, S), per place, over lit voxels.

    A place with few lit entries leans on its group (the last axis), so that a voxel that was
    never lit has sensible numbers too.

    Args:
        shape: Of the statistics.
        groups: The sizes of the groups along the last axis; None: it is one.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *shape: int, groups: list[int] | None = None) -> None:
        super().__init__()
        self.groups = groups or [shape[-1]]
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self._sums: list[Tensor] = []

    def add(self, log_share: Tensor, lit: Tensor) -> None:
        """Take rows (B, \\*shape); only lit entries count."""
        value, weight = log_share.double(), lit.double()
        sums = [weight.sum(0), (weight * value).sum(0), (weight * value.square()).sum(0)]
        before = self._sums or [torch.zeros_like(part) for part in sums]
        self._sums = [a + b for a, b in zip(before, sums, strict=True)]

    def finish(self) -> None:
        """Set the statistics from what was added."""
        parts = zip(*(part.split(self.groups, -1) for part in self._sums), strict=True)
        mean, std = zip(*(_shrunk(*part) for part in parts), strict=True)
        self.mean.copy_(torch.cat(mean, -1))
        self.std.copy_(torch.cat(std, -1))
        self._sums = []


def _shrunk(n: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the places of a group, of sums over rows."""
    count = n.sum(-1, keepdim=True).clamp(min=1.0)
    mean = first.sum(-1, keepdim=True) / count
    square = second.sum(-1, keepdim=True) / count
    square = mean.square() + (square - mean.square()).clamp(min=_WIDTHS[1] ** 2)
    shrunk = (first + _PSEUDO * mean) / (n + _PSEUDO)
    variance = (second + _PSEUDO * square) / (n + _PSEUDO) - shrunk.square()
    return shrunk, variance.clamp(min=_WIDTHS[0] ** 2).sqrt()


class ShareHead(Head[Params]):
    """A head of shares of a layer's energy.

    x are the shares that ``preprocess=shares`` makes: exact zeros, sum 1 in each non-empty layer.

    Args (given at build time, never in YAML):
        geometry: The detector.
        conditions: Tells the layers' energies, and with them the readout cut as a share.
    """

    sums_to_one = True

    def __init__(self, components: int, *, geometry: Geometry, conditions: Conditions) -> None:
        super().__init__(geometry=geometry, conditions=conditions)
        self.components = components
        self.n_parameters = mixture.n_parameters(components)
        self.cut = max(geometry.threshold, 1e-6)  # [MeV]
        self.layers = LayerMap(geometry)

    def prepare(self, train: RowSource) -> None:
        """Measure the log-shares of the training split.

        Raises:
            UserError: x are not shares of layers.
        """
        for x, c in iterate(train, max(1, _CHUNK_VALUES // self.x_dim)):
            self._require_shares(x)
            self._measure(x, c)
        self._measured()

    def _measure(self, x: Tensor, c: Tensor) -> None:
        raise NotImplementedError

    def _measured(self) -> None:
        raise NotImplementedError

    def _require_shares(self, x: Tensor) -> None:
        total = self.layers.sum(x)
        if bool((x < 0).any()) or bool(((total - 1.0).abs() > 1e-3).logical_and(total > 0).any()):
            raise UserError(
                f"head={option_of('head', self)} speaks about shares of a layer's energy, which "
                "are positive and sum to one: use preprocess=shares"
            )

    def _rescued(self, x: Tensor, brightest: Tensor, energies: Tensor) -> Tensor:
        """x (B, V) with one lit voxel, ``brightest`` (B, L), in non-empty layers without one."""
        lost = (self.layers.sum(x) <= 0) & (energies > 0)
        if not somewhere(lost):
            return x
        return x.scatter_add(1, brightest, lost.to(x))

    def _free_numbers(self, x: Tensor, energies: Tensor) -> Tensor:
        """The log-volume of shares x in units of layers' energies (B, L), shape (B,).

        A layer of n lit voxels, which sum to one, has n - 1 of them free.
        """
        free = (self.layers.sum((x > 0).to(x)) - 1.0).clamp(min=0.0)
        return (free * torch.where(energies > 0, energies, 1.0).log()).sum(1)

    def _normalised(self, x: Tensor) -> Tensor:
        """Each layer scaled to the sum one."""
        return x / self.layers.spread(self.layers.sum(x).clamp(min=_NOTHING))
