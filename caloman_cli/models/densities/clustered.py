"""A density for each cluster of showers: a union of manifolds."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Count, checked
from caloman_cli.models.densities.base import Density
from caloman_cli.models.kinds import Kind, weakest
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.clusters import chosen, k_means
from caloman_cli.models.nn.mlp import MLP
from caloman_cli.models.nn.scaler import CONSTANT
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import DrawnRows, RowSource

By = Literal["energy", "kmeans"]
"""``energy``: of the incident one, so that who asks for an energy names the cluster; ``kmeans``:
of latents, near one of K centres."""
_ROWS = 50_000  # that centres are looked for among
_QUIET = 0.1  # of the last weights of the weights' network: it begins near the clusters' shares

log = logging.getLogger(__name__)


@checked
class Clustered(Density):
    r"""Latents fall into clusters, each with a density of its own.

    A smooth map of connected space cannot leave a gap: one flow for components that lie apart has
    samples between them, and one dimension for components of several. With clusters

    - by ``energy``, bins of the first condition, which is the incident energy (each its own,
      where there are no more different ones than ``clusters``, else of equal numbers of rows), p
      is that of the one cluster that c lies in, :math:`p_{j(c)}(z | c)`;
    - by ``kmeans``, :math:`p(z | c) = \sum_j w_j(c)\, p_j(z | c)`, where a network learns from
      the rows which cluster a condition has. Where clusters differ in which latents vary in them,
      their densities are of different spaces, which cannot be added: ``log_prob`` is then
      :math:`\log w_j + \log p_j` of the nearest one, and a score.

    Each part learns from its own cluster's rows, and scales them by itself. All learn at once, so
    that a training's steps are shared. Samples come in the order of the conditions.

    Args:
        part: The density of a cluster.
        by: See :data:`By`.
        clusters: K, at most.
        least: Rows of a cluster; smaller ones, and those of one point only, are joined to others.
        hidden: Hidden widths of the network of the weights.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.

    References:
        Brown, Caterini, Ross, Cresswell, Loaiza-Ganem (2022), Verifying the union of manifolds
        hypothesis for image data, arXiv:2207.02862.
    """

    rows: Tensor
    edges: Tensor
    centres: Tensor

    def __init__(
        self,
        part: Callable[..., Density],
        by: By = "energy",
        clusters: Count = 15,
        least: Count = 100,
        hidden: Sequence[Count] = (64,),
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__("standardize", latents=latents, c_dim=c_dim)
        self.by, self.clusters, self.least, self.hidden = by, clusters, least, hidden
        self.make_part = part
        self.n = clusters
        self._build(self.z_dim)
        self.players = self._parts()[0].players
        self.needs_grad = self._parts()[0].needs_grad
        self.register_load_state_dict_post_hook(_settled)
        self.settle()

    def _build(self, dim: int) -> None:
        scaled = Latents(dim, part_of=option_of("density", self))
        made = (self.make_part(latents=scaled, c_dim=self.c_dim) for _ in range(self.n))
        self.parts = nn.ModuleList(made)
        self.register_buffer("rows", torch.zeros(self.n, dtype=torch.int64))
        if self.by == "energy":
            self.register_buffer("edges", torch.zeros(self.n - 1))
        else:
            self.register_buffer("centres", torch.zeros(self.n, dim))
            self.gate = MLP(max(self.c_dim, 1), self.hidden, self.n, "silu")
        self.kind: Kind = self._parts()[0].kind

    def _parts(self) -> list[Density]:
        return [part for part in self.parts if isinstance(part, Density)]

    def prepare(self, train: RowSource) -> None:
        """Find the clusters, and prepare each part with its rows."""
        super().prepare(train)
        z, c = train.rows(np.arange(len(train)))
        u = self.scaler(z)[0]
        found = self._edges(u, c) if self.by == "energy" else self._centres(u)
        n = len(found) + (self.by == "energy")
        if n != self.n:
            self.n = n
            self._rebuild(u.shape[1])
        (self.edges if self.by == "energy" else self.centres).copy_(found)
        own = self._own(u, c)
        self.rows.copy_(own.bincount(minlength=n))
        log.info("density=clustered: %d clusters, of %s rows", n, self.rows.tolist())
        for k, part in enumerate(self._parts()):
            part.prepare(_rows(self, train, (own == k).nonzero()[:, 0].cpu().numpy()))
        if self.by == "kmeans":
            last = self.gate[-1]
            assert isinstance(last, nn.Linear)
            with torch.no_grad():
                last.weight.mul_(_QUIET)
                last.bias.copy_((self.rows / len(u)).log())
        self.settle()

    def settle(self) -> None:
        """Say what ``log_prob`` is of parts that are prepared."""
        varies = [part.scaler.std.square() for part in self._parts()]
        varies = [square > CONSTANT * square.max() for square in varies]
        self.one_space = all(torch.equal(varies[0], other) for other in varies)
        kind = self._parts()[0].kind
        of_several = self.by == "kmeans" and not self.one_space
        self.kind = weakest(kind, "score") if of_several else kind

    def _edges(self, u: Tensor, c: Tensor) -> Tensor:
        """Between clusters of the first condition, (K - 1,)."""
        values = self._energy(c)
        known = values.unique()
        if len(known) <= self.clusters:
            edges = (known[1:] + known[:-1]) / 2
        else:
            at = torch.arange(1, self.clusters) * len(values) // self.clusters
            edges = values.sort().values[at].unique()
        while (k := self._smallest(u, torch.bucketize(values, edges), len(edges) + 1)) is not None:
            # Left or right, to the smaller neighbour.
            counts = torch.bucketize(values, edges).bincount(minlength=len(edges) + 1)
            left = k > 0 and (k == len(edges) or counts[k - 1] < counts[k + 1])
            edges = _without(edges, k - 1 if left else k)
        return edges

    def _centres(self, u: Tensor) -> Tensor:
        """Of clusters of latents, (K, A)."""
        some = np.linspace(0, len(u) - 1, min(_ROWS, len(u))).astype(np.int64)
        centres = k_means(u[torch.from_numpy(some).to(u.device)], self.clusters)[0]
        while (k := self._smallest(u, _nearest(u, centres), len(centres))) is not None:
            centres = _without(centres, k)
        return centres

    def _smallest(self, u: Tensor, own: Tensor, n: int) -> int | None:
        """The smallest cluster, if it is too small to be one, or one point."""
        counts = own.bincount(minlength=n)
        for k in counts.argsort().tolist():
            here = u[own == k]
            if n > 1 and (len(here) < self.least or bool((here == here[:1]).all())):
                return int(k)
        return None

    def _own(self, u: Tensor, c: Tensor) -> Tensor:
        """The number of each row's cluster, (B,)."""
        if self.by == "energy":
            return torch.bucketize(self._energy(c), self.edges)
        return _nearest(u, self.centres)

    def _energy(self, c: Tensor) -> Tensor:
        """What tells clusters, (B,); without conditions there is one cluster."""
        return c[:, 0].contiguous() if self.c_dim else c.new_zeros(len(c))

    def _log_weights(self, c: Tensor) -> Tensor:
        """log w (B, K) of clusters by k-means."""
        seen = c if self.c_dim else c.new_zeros(len(c), 1)
        return self.gate(seen).log_softmax(1)

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        held = [weight for part in self._parts() for weight in part.player_parameters(player)]
        if self.by == "kmeans" and player == next(iter(self.players)):
            held += self.gate.parameters()
        return held

    def averaged_buffers(self) -> list[Tensor]:
        return [buffer for part in self._parts() for buffer in part.averaged_buffers()]

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """The mean over rows of their part's loss, and of -log w of its cluster."""
        u, c, _ = self.scaled(batch)
        own = self._own(u, c)
        total = u.new_zeros(())
        for part, rows in self._each(own):
            total = total + len(rows) / len(u) * part.loss((u[rows], c[rows]), player)
        if self.by == "kmeans" and player == next(iter(self.players)):
            total = total + cross_entropy(self._log_weights(c), own)
        return total

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The loss, and that of the parts alone."""
        u, c, _ = self.scaled(batch)
        own = self._own(u, c)
        each = [
            len(rows) / len(u) * part.scores((u[rows], c[rows]))["loss"]
            for part, rows in self._each(own)
        ]
        parts = torch.stack(each).sum()
        told = cross_entropy(self._log_weights(c), own) if self.by == "kmeans" else 0.0
        return {"loss": parts + told, "part": parts}

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        uniform = noise.uniform(1)
        own = self._own(c, c) if self.by == "energy" else chosen(self._log_weights(c), uniform)
        return self._together(own, lambda part, rows: part.sample(c[rows], noise.rows(rows)))

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        if self.by == "kmeans" and self.one_space:
            each = torch.stack([part.log_prob(u, c) for part in self._parts()], 1)
            return (self._log_weights(c) + each).logsumexp(1)
        own = self._own(u, c)
        found = self._together(own, lambda part, rows: part.log_prob(u[rows], c[rows]))
        if self.by == "energy":
            return found
        return found + self._log_weights(c).gather(1, own[:, None])[:, 0]

    def _each(self, own: Tensor) -> list[tuple[Density, Tensor]]:
        """Parts that have rows, and these."""
        pairs = [(part, (own == k).nonzero()[:, 0]) for k, part in enumerate(self._parts())]
        return [(part, rows) for part, rows in pairs if len(rows)]

    def _together(self, own: Tensor, ask: Callable[[Density, Tensor], Tensor]) -> Tensor:
        """What parts say of their rows, in the order of the rows."""
        each = self._each(own)
        found = torch.cat([ask(part, rows) for part, rows in each])
        return found[torch.cat([rows for _, rows in each]).argsort()]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rows = state_dict.get(f"{prefix}rows")
        if rows is not None and len(rows) != self.n:
            self.n = len(rows)
            self._rebuild(self.scaler.n_active)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _settled(density: nn.Module, _: object) -> None:
    assert isinstance(density, Clustered)
    density.settle()


def _nearest(u: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(u, centres).argmin(1)


def _without(values: Tensor, k: int) -> Tensor:
    return torch.cat([values[:k], values[k + 1 :]])


class _Rows:
    """Rows (u, c) of one cluster."""

    def __init__(self, density: Clustered, source: RowSource, own: np.ndarray) -> None:
        self.density, self.source, self.own = density, source, own

    def __len__(self) -> int:
        return len(self.own)

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        z, c = self.source.rows(self.own[index])
        return self.density.scaler(z)[0], c


class _DrawnRows(_Rows):
    """The same of latents that are drawn anew whenever they are asked for."""

    source: DrawnRows

    def means(self) -> _Rows:
        return _Rows(self.density, self.source.means(), self.own)


def _rows(density: Clustered, source: RowSource, own: np.ndarray) -> _Rows:
    kind = _DrawnRows if isinstance(source, DrawnRows) else _Rows
    return kind(density, source, own)
