"""Transforms between MeV and the numbers that networks see."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry


class Context(NamedTuple):
    """What is known of a shower before its voxels.

    Args:
        e_inc: Incident energies [MeV], shape (B, 1).
        layers: Energies of the layers [MeV], shape (B, L): true in training,
            generated in sampling.
        turn: By which turn showers in canonical orientation become what they are, int64 (B,);
            None: they stay as they are.
    """

    e_inc: Tensor
    layers: Tensor
    turn: Tensor | None = None


Stream = Callable[[], Iterable[tuple[Tensor, Context]]]
"""Starts a new pass over (x, context) of the training split, in file order."""


class Transform(nn.Module):
    """One invertible step on x (B, V); statistics are buffers and travel in the checkpoint."""

    def bind(self, geometry: Geometry) -> None:
        """Take what the step needs of the geometry; called once, before :meth:`fit`."""

    def fit(self, stream: Stream) -> None:
        """Set the statistics from the training split, already transformed by the steps before."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        raise NotImplementedError

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        raise NotImplementedError

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        """log |d forward(x) / dx| of x (B, V) [nats], shape (B,), float64.

        At fixed layer energies. Added to a log-density of ``forward(x)`` it makes one of x. A
        step that makes numbers of what is not there (the energy of a dark voxel) takes off the
        log-density of these, so that the sum is a lower bound on average.
        """
        raise NotImplementedError
