"""The border between MeV and the numbers that networks see."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from caloman_cli.config.values import checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context, Stream, Transform
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.preprocess.layers import LayerMap
from caloman_cli.models.preprocess.orientation import Orientation
from caloman_cli.models.preprocess.shares import Threshold
from caloman_cli.models.trainable import RowSource, iterate

_CHUNK_VOXELS = 1 << 22  # 16 MiB of float32 per array while fitting
_CACHE_VOXELS = 1 << 19  # 2 MiB while undone on a CPU


@checked
class Preprocess(nn.Module):
    """A chain of transforms of the voxels, and the conditions.

    With ``orientation=canonical`` all that is learned are showers in their canonical orientation,
    and each that is drawn is turned about the axis and mirrored at random: showers that are
    rotated or mirrored are exactly as likely. See
    :mod:`caloman_cli.models.preprocess.orientation`.

    Args:
        transforms: Applied in this order; undone in the reverse order. A readout cut
            (:class:`Threshold`) comes first.
        conditions: What encoder and density know of a shower.
        orientation: ``canonical``: showers are brought to it first, and turned back last.
        geometry: The detector.

    Attributes:
        x_dim: V.
        c_dim: C.

    Raises:
        UserError: A readout cut is not the first transform.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        conditions: Conditions,
        orientation: Literal["none", "canonical"] = "none",
        *,
        geometry: Geometry,
    ) -> None:
        super().__init__()
        late = [i for i, step in enumerate(transforms) if i and isinstance(step, Threshold)]
        if late:
            raise UserError(
                f"preprocess.transforms[{late[0]}] is Threshold, which acts on MeV: put it first"
            )
        self.transforms = nn.ModuleList(transforms)
        self.conditions = conditions
        self.layers = LayerMap(geometry)
        self.orientation = Orientation(geometry) if orientation == "canonical" else None
        for step in self._steps:
            step.bind(geometry)
        conditions.bind(geometry)
        self.x_dim, self.c_dim = geometry.n_voxels, conditions.dim

    @property
    def _steps(self) -> list[Transform]:
        return [step for step in self.transforms if isinstance(step, Transform)]

    def fit(self, train: RowSource) -> None:
        """Measure every statistic on the training split, in passes of bounded memory.

        Args:
            train: Rows (voxels (V,) MeV, incident energy (1,) MeV).

        Raises:
            UserError: There are no rows.
        """
        if len(train) == 0:
            raise UserError("the training split is empty: preprocessing has nothing to measure")
        self.conditions.fit(self._stream(train, 0))
        for depth, step in enumerate(self._steps):
            step.fit(self._stream(train, depth))

    def _stream(self, train: RowSource, depth: int) -> Stream:
        """Passes over the rows after the first ``depth`` transforms."""

        def start() -> Iterator[tuple[Tensor, Context]]:
            for voxels, e_inc in iterate(train, max(1, _CHUNK_VOXELS // self.x_dim)):
                x, context = self.seen(voxels, e_inc)
                for step in self._steps[:depth]:
                    x = step(x, context)
                yield x, context

        return start

    def seen(self, voxels: Tensor, e_inc: Tensor) -> tuple[Tensor, Context]:
        """What is learned of showers (B, V) MeV at (B, 1) MeV, in MeV, and its context.

        They are after the readout cut, where the chain has one, and in the orientation that is
        learned.
        """
        first = self._steps[0] if self._steps else None
        seen = first.cut(voxels) if isinstance(first, Threshold) else voxels
        if self.orientation is None:
            return seen, Context(e_inc, self.layers.sum(seen))
        turns, turn = self.orientation.turns, self.orientation.of(seen)
        seen = turns(seen, turn)
        return seen, Context(e_inc, self.layers.sum(seen), turns.undone(turn))

    def context(self, voxels: Tensor, e_inc: Tensor) -> Context:
        """True context of showers: voxels (B, V) MeV, incident energies (B, 1) MeV.

        Layer energies are sums after the readout cut, where the chain has one.
        """
        return self.seen(voxels, e_inc)[1]

    def drawn(self, context: Context, noise: Noise) -> Context:
        """The context of B showers that are drawn, with a turn of its own for each."""
        if self.orientation is None:
            return context
        return context._replace(turn=self.orientation.drawn(noise))

    def log_turns(self, context: Context) -> Tensor:
        """What of log p(x) a random turn takes off that of the learned one, (B,), float64.

        Of the |G| turns those count that move no layer with energy: all in an empty shower.
        """
        if self.orientation is None:
            return context.layers.new_zeros(len(context.layers), dtype=torch.float64)
        return self.orientation.log_share(context.layers > 0)

    def condition(self, context: Context) -> Tensor:
        """c, shape (B, C), dimensionless."""
        return self.conditions(context)

    def forward(self, voxels: Tensor, e_inc: Tensor) -> tuple[Tensor, Tensor]:
        """Showers (B, V) MeV at (B, 1) MeV -> x (B, V) and c (B, C), dimensionless."""
        x, context = self.seen(voxels, e_inc)
        for step in self._steps:
            x = step(x, context)
        return x, self.condition(context)

    def log_det(self, voxels: Tensor, e_inc: Tensor) -> Tensor:
        """log |dx / dE| of the showers at fixed layer energies [nats], shape (B,), float64.

        Args:
            voxels: E [MeV], shape (B, V).
            e_inc: Incident energies [MeV], shape (B, 1).
        """
        x, context = self.seen(voxels, e_inc)
        total = voxels.new_zeros(len(voxels), dtype=torch.float64)
        for step in self._steps:
            total = total + step.log_det(x, context)
            x = step(x, context)
        return total

    def inverse(self, x: Tensor, context: Context, readout: bool = True) -> Tensor:
        """x (B, V), dimensionless -> voxels (B, V) MeV, never negative, never NaN.

        Without ``readout`` they are left as they are before the readout cut.
        """
        steps = [step for step in self._steps if readout or not isinstance(step, Threshold)]
        rows = _CACHE_VOXELS // self.x_dim + 1 if x.device.type == "cpu" else max(1, len(x))
        given = (x, context.e_inc, context.layers)
        parts = []
        for part, *of_part in zip(*(every.split(rows) for every in given), strict=True):
            for step in reversed(steps):
                part = step.inverse(part, Context(*of_part))
            parts.append(part)
        voxels = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self.orientation is None or context.turn is None:
            return voxels
        return self.orientation.turns(voxels, context.turn)
