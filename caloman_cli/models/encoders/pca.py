"""Principal components: the linear manifold, in closed form."""

from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Natural, checked
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.projection import Decoder, Projection
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation
from caloman_cli.models.trainable import RowSource


@checked
class PCA(Projection):
    """Projection on the D directions of largest variance; latents are not learned by descent.

    What is projected are voxels, and what the directions leave out becomes the head's sigma, the
    maximum-likelihood noise of probabilistic PCA. With a head that has no plain mean it is what
    the head shows of a shower (:meth:`Head.features`), and a network learns what the head speaks
    of.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        power: Power iterations of the range finder, each one pass over the data.
        decoder: See :data:`~caloman_cli.models.encoders.projection.Decoder`; the following are of
            a learned one.
        hidden: Hidden widths, the last one first.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        conditional: Let it see c.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range, or the head cannot express a plain mean with
            ``decoder=closed``.

    References:
        Tipping, Bishop (1999), Probabilistic principal component analysis,
        J. R. Stat. Soc. B 61, 611.
        Halko, Martinsson, Tropp (2011), Finding structure with randomness, arXiv:0909.4061.
    """

    center: Tensor
    axes: Tensor

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        power: Natural = 2,
        decoder: Decoder = "auto",
        hidden: Sequence[Count] = (384, 384),
        activation: Activation = "silu",
        conditional: bool = True,
        network: Network = "mlp",
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            latent_dim,
            decoder,
            hidden,
            activation,
            conditional,
            network,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        self.power = power
        self.register_buffer("center", torch.zeros(self.width))
        self.register_buffer("axes", torch.eye(self.n_learned, self.width))
        self.register_buffer("sigma", torch.ones(()))

    def _fix(self, train: RowSource) -> None:
        center, axes, _, rest = self._plane(train, self.power)
        self.center.copy_(center)
        self.axes.copy_(axes)
        self.sigma.copy_((rest / max(self.width - self.n_learned, 1)).sqrt())

    def _project(self, x: Tensor, c: Tensor) -> Tensor:
        return (self.space(x) - self.center) @ self.axes.T

    def _lift(self, z: Tensor, c: Tensor) -> Tensor:
        return self.center + z @ self.axes
