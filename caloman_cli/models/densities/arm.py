"""The autoregressive model of two-step generative models: an LSTM and mixtures of normals."""

from torch import nn

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.autoregressive import Autoregressive
from caloman_cli.models.densities.base import Noising
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind


@checked
class ARM(Autoregressive):
    r"""Each latent has a mixture of normals, which an LSTM makes of those before it and of c.

    The mixture stands around a linear map of the latents before it and of c, in units of what
    that leaves, both fitted when training begins and learned on: see
    :class:`~caloman_cli.models.nn.places.Mixtures`. No sigma is below 0.001 in scaled units.

    Args:
        hidden: Width of the LSTM.
        n_layers: Its layers.
        components: Normals of each mixture.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    Raises:
        UserError: An argument is out of range.

    References:
        Loaiza-Ganem et al. (2022), Diagnosing and fixing manifold overfitting in deep generative
        models, arXiv:2204.07172.
        Uria, Murray, Larochelle (2013), RNADE: the real-valued neural autoregressive
        density-estimator, arXiv:1306.0186.
        Bishop (1994), Mixture density networks.
    """

    def __init__(
        self,
        hidden: Count = 128,
        n_layers: Count = 1,
        components: Count = 10,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        scaling = scaler, prune, noise, noise_sigma
        super().__init__(hidden, components, *scaling, latents=latents, c_dim=c_dim)
        self.n_layers = n_layers
        self._build(self.z_dim)

    def _network(self) -> nn.Module:
        return nn.LSTM(self.width, self.width, self.n_layers, batch_first=True)
