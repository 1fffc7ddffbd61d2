"""Two levels of latents: a shower's first, then those of its layers, one layer after the other."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Count, Fraction, checked
from caloman_cli.errors import UserError
from caloman_cli.models.densities.autoregressive import Autoregressive
from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import ANOTHER_PART, Latents
from caloman_cli.models.nn.mlp import MLP
from caloman_cli.models.nn.places import NearMixtures
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import MappedRows, RowSource


@checked
class Levels(Density):
    r""":math:`p(u | c) = p(s | c) \prod_l p(v_l | v_1 \ldots v_{l-1}, s, c)`: exact if that is.

    s are the shower's latents, and the moments that a head wants to be told; they have any other
    density, the part. :math:`v_l` are the latents of layer l, see :class:`_LayerByLayer`. Both
    learn at once, the layers from what the rows have in the layers before. A sample takes the
    part's passes and a small step for each latent of a layer.

    Args:
        part: The density of a shower's latents.
        hidden: Width of the recurrence over layers.
        components: Normals of each of its mixtures.
        prune: See :class:`Density`; of a shower's latents one must be left.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.

    Raises:
        UserError: No latent is a layer's, or pruning leaves none of the shower's.

    References:
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for
        statistical machine translation (the recurrence), arXiv:1406.1078.
    """

    order: Tensor

    def __init__(
        self,
        part: Callable[..., Density],
        hidden: Count = 64,
        components: Count = 5,
        prune: Fraction = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__("standardize", prune, latents=latents, c_dim=c_dim)
        if latents.layers is None:
            instead = "give encoder.layer_latents=2, which encoder=vae has, or use density=nsf"
            raise UserError(
                f"density={option_of('density', self)} learns latents of layers beside a shower's,"
                f" which {latents.source} does not hand over: "
                f"{ANOTHER_PART if latents.part_of else instead}"
            )
        self.make_part, self.hidden, self.components = part, hidden, components
        self._build(self.z_dim)
        self.kind = self.part.kind
        self.needs_grad = self.part.needs_grad

    def _build(self, dim: int) -> None:
        own = self.latents.layers
        assert own is not None
        places = self.scaler.active.nonzero()[:, 0].tolist()
        layers = [u for u, z in enumerate(places) if own.start <= z < own.stop]
        shower = [u for u, z in enumerate(places) if not own.start <= z < own.stop]
        if not shower:
            raise UserError(
                f"density.prune={self.scaler.prune:g} leaves none of the shower's latents: give a "
                "lower one"
            )
        self.n_shower = len(shower)
        self.register_buffer("order", torch.tensor(shower + layers), persistent=False)
        name = option_of("density", self)
        self.part = self.make_part(latents=Latents(len(shower), part_of=name), c_dim=self.c_dim)
        self.second = None
        if layers:
            self.second = _LayerByLayer(
                self.hidden,
                self.components,
                [divmod(places[u] - own.start, own.each) for u in layers],
                own.told,
                len(shower),
                latents=Latents(len(layers), part_of=name),
                c_dim=self.c_dim + len(shower),
            )

    @property
    def players(self) -> Mapping[str, int]:  # type: ignore[override]
        return self.part.players

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        held = self.part.player_parameters(player)
        if self.second is not None and self._is_first(player):
            held = [*held, *self.second.parameters()]
        return held

    def _is_first(self, player: str) -> bool:
        """Whether it is the player that learns the layers' latents, too."""
        return player == next(iter(self.players))

    def prepare(self, train: RowSource) -> None:
        super().prepare(train)
        self.part.prepare(MappedRows(train, self._first))
        if self.second is not None:
            self.second.prepare(MappedRows(train, self._second))

    def averaged_buffers(self) -> list[Tensor]:
        return self.part.averaged_buffers()

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """That of the part and of the layers, less what the scaling adds to log p [nats]."""
        found = self.part.loss(self._first(batch), player)
        if self.second is not None and self._is_first(player):
            found = found + self.second.loss(self._second(batch))
        return found

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Those of the part; ``loss`` has what the layers add, which is ``layers``."""
        found = self.part.scores(self._first(batch))
        if self.second is None:
            return found
        layers = self.second.loss(self._second(batch))
        return {**found, "loss": found["loss"] + layers, "layers": layers}

    def _first(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Rows (z, c) -> (s, c)."""
        u, c, _ = self.scaled(batch)
        return self._split(u)[0], c

    def _second(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Rows (z, c) -> (v, c and s)."""
        u, c, _ = self.scaled(batch)
        shower, layers = self._split(u)
        return layers, torch.cat([c, shower], 1)

    def _split(self, u: Tensor) -> tuple[Tensor, ...]:
        """u (B, A) -> s and v."""
        return u.index_select(1, self.order).tensor_split([self.n_shower], 1)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        u = self.part.sample(c, noise)
        if self.second is not None:
            u = torch.cat([u, self.second._sample(torch.cat([c, u], 1), noise)], 1)
        return torch.empty_like(u).index_copy_(1, self.order, u)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        shower, layers = self._split(u)
        found = self.part.log_prob(shower, c)
        if self.second is not None:
            found = found + self.second._log_prob(layers, torch.cat([c, shower], 1))
        return found

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        # Networks depend on which latents are learned, not only on how many.
        active = state_dict.get(f"{prefix}scaler.active")
        if active is not None and active.tolist() != self.scaler.active.tolist():
            self.scaler.active.copy_(active)
            self._rebuild(self.scaler.n_active)
        super()._load_from_state_dict(state_dict, prefix, *args)


class _LayerByLayer(Autoregressive):
    """A recurrence over layers, with the same weights for all of them.

    A place is told of all conditions and the shower's latents, which layer it is in, what
    conditions say of this one, and which of the layer's latents it is; it reads the latent before
    it, and the recurrence remembers those of all layers before.

    Args:
        hidden: Width of the recurrence.
        components: Normals of each mixture.
        of: Of each place, its layer and which of the layer's latents it is.
        told: Of each layer, which columns of c speak of it.
        n_shower: How many of c are the shower's latents; they stand last.
        latents: All of them, in the order of the places.
        c_dim: Of c, and of the shower's latents behind it.
    """

    of_layer: Tensor
    of_kind: Tensor
    columns: Tensor

    def __init__(
        self,
        hidden: int,
        components: int,
        of: list[tuple[int, int]],
        told: tuple[tuple[int, ...], ...],
        n_shower: int,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(
            hidden, components, "none", 0.0, "none", 0.1, latents=latents, c_dim=c_dim
        )
        layer, kind = torch.tensor(of).unbind(1)
        self.register_buffer("of_layer", layer, persistent=False)
        self.register_buffer("of_kind", kind, persistent=False)
        self.register_buffer("columns", torch.tensor(told).long(), persistent=False)
        self.n_shower = n_shower
        self._build(self.z_dim)

    def _places(self, dim: int) -> NearMixtures:
        shower = range(self.c_dim - self.n_shower, self.c_dim)
        seen = []
        for columns in self.columns.tolist():
            energies = sorted({0, *columns}) if columns else []  # the first is the incident one
            seen.append([*energies, *shower])
        return NearMixtures(self.of_layer.tolist(), seen, self.c_dim, self.width, self.components)

    def _mark(self, dim: int) -> None:
        n_layers, width = len(self.columns), self.width
        self.layer = nn.Parameter(torch.randn(n_layers, width) / width**0.5)
        self.of_own = MLP(self.columns.shape[1] + 1, [width], width, "silu")
        kinds = 1 + int(self.of_kind.max())
        self.kind_of_place = nn.Parameter(torch.randn(kinds, width) / width**0.5)
        self.gain = nn.Parameter(torch.ones(kinds, width))

    def _network(self) -> nn.Module:
        return nn.GRU(self.width, self.width, batch_first=True)

    def _tokens(self, c: Tensor) -> Tensor:
        own = c[:, self.columns]
        own = self.layer + self.of_own(torch.cat([own, own.new_ones(*own.shape[:2], 1)], 2))
        marks = own.index_select(1, self.of_layer) + self.kind_of_place[self.of_kind]
        return self._told(c).unsqueeze(1) + marks

    def _gains(self) -> Tensor:
        return self.gain[self.of_kind]
