"""What encoder and density know of a shower: its incident energy and its layers' energies."""

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Positive, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.preprocess.base import Context, Stream
from caloman_cli.models.preprocess.moments import Moments


@checked
class Conditions(nn.Module):
    r"""The condition vector c (B, C) of a context.

    Columns: :math:`\log_{10}(E_{inc}+\epsilon)`, then :math:`\log_{10}(E_l+\epsilon) - o` per
    layer, then, with ``empty_bits``, one bit per layer that says it is empty (C = 1 + 2 L). With
    bits, the logarithm of an empty layer is replaced by the mean over non-empty ones; without,
    it is a spike at :math:`\log_{10}\epsilon - o`.

    CaloMan's published conditions are ``empty_bits=False, standardize=False, offset=6``, since
    :math:`\log_{10}((E_l+\epsilon)/10^5) - 1 = \log_{10}(E_l+\epsilon) - 6`.

    Args:
        empty_bits: Say explicitly which layers are empty.
        standardize: Scale the logarithms to mean 0 and standard deviation 1 on the training
            split (over non-empty layers, if there are bits).
        offset: o, subtracted from the logarithms of layer energies.
        floor: :math:`\epsilon` [MeV].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        empty_bits: bool = True,
        standardize: bool = True,
        offset: float = 0.0,
        floor: Positive = 1e-3,
    ) -> None:
        super().__init__()
        self.empty_bits, self.standardize = empty_bits, standardize
        self.offset, self.floor = offset, floor

    def bind(self, geometry: Geometry) -> None:
        """Take the number of layers; called once, before :meth:`fit`."""
        self.n_layers = geometry.n_layers
        self.register_buffer("mean", torch.zeros(1 + geometry.n_layers))
        self.register_buffer("std", torch.ones(1 + geometry.n_layers))

    @property
    def dim(self) -> int:
        """C."""
        return 1 + self.n_layers * (2 if self.empty_bits else 1)

    @property
    def of_layers(self) -> tuple[tuple[int, ...], ...]:
        """Of each layer, which columns of c speak of it alone."""
        energies = range(1, 1 + self.n_layers)
        return tuple((i, i + self.n_layers) if self.empty_bits else (i,) for i in energies)

    def fit(self, stream: Stream) -> None:
        """Set mean and standard deviation from the contexts of the training split."""
        moments = Moments()
        for _, context in stream():
            moments.add(self._logarithms(context), self._counts(context))
        # Without scaling the mean still serves: it is what an empty layer is filled with.
        self.mean.copy_(moments.mean)
        if self.standardize:
            self.std.copy_(moments.std)

    def forward(self, context: Context) -> Tensor:
        """Context of B showers [MeV] -> c (B, C)."""
        values = self._logarithms(context)
        if self.empty_bits:
            values = torch.where(self._counts(context), values, self.mean)
        if self.standardize:
            values = (values - self.mean) / self.std
        if not self.empty_bits:
            return values
        return torch.cat([values, (context.layers <= 0).to(values.dtype)], 1)

    def layer_energies(self, c: Tensor) -> Tensor:
        """The layer energies [MeV] that conditions c (B, C) speak of, shape (B, L).

        Undoes :meth:`forward` up to float32 rounding; an empty layer is exactly 0.
        """
        values = c[:, : 1 + self.n_layers]
        if self.standardize:
            values = values * self.std + self.mean
        energies = torch.pow(10.0, values[:, 1:] + self.offset) - self.floor
        least = 1e-3 * self.floor
        if self.empty_bits:
            # What float32 leaves of next to nothing may be below zero; the bit knows better.
            energies = energies.clamp(min=least)
            return torch.where(c[:, 1 + self.n_layers :] > 0.5, 0.0, energies)
        return torch.where(energies > least, energies, 0.0)

    def _logarithms(self, context: Context) -> Tensor:
        e_inc = torch.log10(context.e_inc + self.floor)
        return torch.cat([e_inc, torch.log10(context.layers + self.floor) - self.offset], 1)

    def _counts(self, context: Context) -> Tensor:
        """Which logarithms are those of an energy, shape (B, 1 + L)."""
        seen = context.layers > 0 if self.empty_bits else torch.ones_like(context.layers).bool()
        return torch.cat([torch.ones_like(context.e_inc).bool(), seen], 1)
