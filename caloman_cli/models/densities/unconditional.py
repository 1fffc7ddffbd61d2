"""A density that is not told the conditions."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Fraction, checked
from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import MappedRows, RowSource


@checked
class Unconditional(Density):
    """p(z), whatever the condition: that of another density, which learns the scaled latents.

    What a decoder is not told of a shower's energy is then drawn at random; ``density=tr0n`` makes
    such a run answer conditions afterwards.

    Args:
        part: The density.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.
    """

    def __init__(
        self,
        part: Callable[..., Density],
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, latents=latents, c_dim=c_dim)
        self.make_part = part
        self._build(self.z_dim)
        self.kind = self.part.kind
        self.needs_grad = self.part.needs_grad

    def _build(self, dim: int) -> None:
        scaled = Latents(dim, part_of=option_of("density", self))
        self.part = self.make_part(latents=scaled, c_dim=0)

    @property
    def players(self) -> Mapping[str, int]:  # type: ignore[override]
        return self.part.players

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        return self.part.player_parameters(player)

    def prepare(self, train: RowSource) -> None:
        super().prepare(train)
        self.part.prepare(MappedRows(train, self._alone))

    def averaged_buffers(self) -> list[Tensor]:
        return self.part.averaged_buffers()

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """That of the part, less what the scaling adds to log p [nats] where it has that."""
        return self.part.loss(self._alone(batch), player)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return self.part.scores(self._alone(batch))

    def _alone(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Rows (z, c) -> (u, nothing)."""
        u, c, _ = self.scaled(batch)
        return u, c[:, :0]

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        return self.part.sample(c[:, :0], noise)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        return self.part.log_prob(u, c[:, :0])
