"""How a decoder speaks about voxels."""

from torch import Tensor, nn

from caloman_cli.noise import Noise


class Head(nn.Module):
    """A distribution of x (B, V) whose parameters are a decoder's output.

    Args:
        x_dim: The number of voxels V.

    Attributes:
        out_dim: Width of the raw decoder output.
    """

    out_dim: int

    def __init__(self, x_dim: int) -> None:
        super().__init__()
        self.x_dim = x_dim

    def params(self, raw: Tensor) -> tuple[Tensor, ...]:
        """Split and constrain a decoder's raw output (B, out_dim)."""
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
        """The expectation of x, shape (B, V)."""
        raise NotImplementedError

    def log_prob(self, params: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """log p(x | params) summed over voxels [nats], shape (B,)."""
        raise NotImplementedError
