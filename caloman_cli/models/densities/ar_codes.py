"""An autoregressive density of codes: an LSTM, as the prior of vector-quantised autoencoders."""

from torch import nn

from caloman_cli.config.values import Count, checked
from caloman_cli.models.densities.autoregressive import Autoregressive
from caloman_cli.models.latents import Latents


@checked
class ARCodes(Autoregressive):
    """Each code has a probability of each of K, which an LSTM makes of those before it and of c.

    At the start of a training a place says how often it has each code.

    Args:
        hidden: Width of the LSTM.
        n_layers: Its layers.

    Raises:
        UserError: An argument is out of range, or latents are no codes.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural discrete representation learning (a
        prior of codes, learned when the autoencoder is), arXiv:1711.00937.
    """

    accepts = ("codes",)

    def __init__(
        self, hidden: Count = 256, n_layers: Count = 1, *, latents: Latents, c_dim: int
    ) -> None:
        super().__init__(hidden, 0, "none", 0.0, "none", 0.1, latents=latents, c_dim=c_dim)
        self.n_layers = n_layers
        self._build(self.z_dim)

    def _network(self) -> nn.Module:
        return nn.LSTM(self.width, self.width, self.n_layers, batch_first=True)
