"""The contract of an energy model: how much energy each layer gets."""

from torch import Tensor

from caloman_cli.models.kinds import Kind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import Trainable


class EnergyModel(Trainable):
    """Learns p(layer energies | incident energy), empty layers included.

    A batch of training rows is the tuple (layers (B, L) MeV, e_inc (B, 1) MeV).

    Args (given at build time, never in YAML):
        geometry: The detector.

    Attributes:
        kind: What :meth:`log_prob` is, see :data:`~caloman_cli.models.kinds.Kind`.
    """

    kind: Kind = "exact"

    def sample(self, e_inc: Tensor, noise: Noise) -> Tensor:
        """Draw layer energies [MeV], shape (B, L), for incident energies [MeV], shape (B, 1)."""
        raise NotImplementedError

    def log_prob(self, layers: Tensor, e_inc: Tensor) -> Tensor:
        """log p(layers | e_inc), shape (B,)."""
        raise NotImplementedError

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        layers, e_inc = batch
        return -self.log_prob(layers, e_inc).mean()
