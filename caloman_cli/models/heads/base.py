"""How a decoder speaks about voxels."""

from typing import Generic, TypeVar

from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.models.kinds import Kind
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.trainable import RowSource
from caloman_cli.models.turns import Turns

Params = TypeVar("Params", bound=tuple)


class Head(nn.Module, Generic[Params]):
    """A distribution of x (B, V) whose parameters are a decoder's output.

    ``Params`` is a named tuple of tensors, one row a shower.

    Args (given at build time, never in YAML):
        geometry: The detector.
        conditions: What c says of a shower; a head may read the layers' energies from it.

    Attributes:
        x_dim: V.
        out_dim: Width of the raw decoder output, moments included.
        feature_dim: Width of :meth:`features`.
        moment_dim: Width of :meth:`moments`.
        moment_sigma: Noise with which latents know them.
        images: How many images of all voxels, in their order, the features begin with, and how
            many the raw output, for networks that see their places.
        layer_width: Numbers of the raw output for each layer in turn, moments behind them; 0:
            it is not made of layers.
        footprint: Numbers per shower that exist at once while sampling.
        kind: What :meth:`log_density` is of what :meth:`sample` draws.
        deterministic: Whether :meth:`sample` gives :meth:`mean`.
        sums_to_one: Whether voxels are drawn as shares, some of them zero, that sum to one in
            each non-empty layer.
        turned: (showers (B, V), turns (B,)) -> showers, each rotated or mirrored by its own of
            the ``n_turns``.
    """

    out_dim: int
    feature_dim: int
    footprint: int
    kind: Kind
    moment_dim: int = 0
    moment_sigma: float = 0.1
    images: tuple[int, int] = (0, 0)
    layer_width: int = 0
    deterministic: bool = False
    sums_to_one: bool = False

    def __init__(self, *, geometry: Geometry, conditions: Conditions) -> None:
        super().__init__()
        self.geometry = geometry
        # In a tuple: the module belongs to the preprocessing, which saves its statistics.
        self._conditions = (conditions,)
        self.turned = Turns(geometry)
        self.x_dim = self.feature_dim = geometry.n_voxels

    @property
    def conditions(self) -> Conditions:
        return self._conditions[0]

    def prepare(self, train: RowSource) -> None:
        """Set statistics from training rows (x (V,), c (C,)); called before the first step."""

    def features(self, x: Tensor) -> Tensor:
        """How an encoder's network reads x (B, V): shape (B, feature_dim)."""
        return x

    def moments(self, x: Tensor, c: Tensor) -> Tensor:
        """What a head would like to be told of x (B, V), of order 1, shape (B, moment_dim)."""
        return x[:, :0]

    def params(self, raw: Tensor, c: Tensor) -> Params:
        """Split and constrain a decoder's raw output (B, out_dim) at conditions c (B, C).

        The last ``moment_dim`` columns are what latents say of the moments.
        """
        raise NotImplementedError

    def from_mean(self, mean: Tensor, sigma: Tensor) -> Params:
        """Parameters of a decoder in closed form: mean (B, V), sigma of shape (V,) or scalar.

        Raises:
            UserError: The head cannot express a plain mean, as none can that wants moments.
        """
        raise NotImplementedError

    def sample(self, params: Params, noise: Noise) -> Tensor:
        """What generation uses: x (B, V), row i from row i of the parameters and the noise."""
        raise NotImplementedError

    def mean(self, params: Params) -> Tensor:
        """One point x (B, V) for the distribution, differentiable: its expectation, or near it."""
        raise NotImplementedError

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        """log p(x | params) summed over voxels [nats], shape (B,)."""
        raise NotImplementedError

    def log_density(self, params: Params, x: Tensor) -> Tensor:
        """The same of what :meth:`sample` makes, in units of x, shape (B,).

        The probability of which voxels are zero, where the head draws zeros, times the density of
        the others. Where ``sums_to_one``, these are all but one of each layer: which one does
        not matter.
        """
        return self.log_prob(params, x)

    @property
    def n_turns(self) -> int:
        """How many rotations about the axis, with and without mirroring, map voxels on voxels."""
        return self.turned.count
