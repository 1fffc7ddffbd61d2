"""Sampled voxels: a hurdle for exact zeros times a mixture in log-share, independent given z."""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.config.values import Count, Natural, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.heads import mixture
from caloman_cli.models.heads.chessboard import Chessboard, Seen
from caloman_cli.models.heads.copula import Copula, Free, Scores, lit_scores, rates
from caloman_cli.models.heads.mixture import Mixture
from caloman_cli.models.heads.scaled import log_integral
from caloman_cli.models.heads.shares import LogShares, ShareHead
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.conditions import Conditions

_NOTHING = 1e-12  # a share below any voxel's
_SURE = 30.0  # the logit of what is certain
_RADII = 2  # points in each direction of factors where a density is asked for


class Hurdle(NamedTuple):
    """Parameters of voxels.

    Args:
        mixture: Of bits and standardised log-shares, (B, ., V).
        edge: The cut in units of these, (B, V): :math:`+\\infty` where the layer is empty.
    """

    mixture: Mixture
    edge: Tensor


@checked
class HurdleMixture(ShareHead[Hurdle]):
    r"""Voxels independent given the decoder's output: lit or empty, then a log-share.

    A lit voxel's share is :math:`v = \exp(\mu_v + \sigma_v y)`, with y drawn from a mixture of
    logistics truncated at the readout cut, see :mod:`caloman_cli.models.heads.mixture`; the
    shares of a layer are then scaled to the sum one. A non-empty layer without a lit voxel lights
    its most probable one. ``log_prob`` is that of the voxels before the scaling, in units of y.

    With a copula, voxels are no longer independent: normal scores of all of them, which R factors
    and a learned matrix of loadings correlate, choose what each draws of its own distribution,
    which stays what it was, see :mod:`caloman_cli.models.heads.copula`. ``log_prob`` and
    ``log_density`` are then integrals over the factors, of which they are estimates without
    noise; with loadings of zero they are those of independent voxels.

    Refined, only half of the voxels are independent, those of one colour of a chessboard: the
    others are drawn in a second call, of a network that sees those that touch them, see
    :mod:`caloman_cli.models.heads.chessboard`. ``log_prob`` is the sum over both colours.

    Args:
        components: K.
        copula: R; 0: none.
        refine: Width of the network that draws the second colour; 0: all voxels at once.
        geometry: The detector.
        conditions: Tells the layers' energies.

    Raises:
        UserError: An argument is out of range, or there is both, a copula and a second colour.
    """

    kind = "estimate"  # of an integral

    def __init__(
        self,
        components: Count = 3,
        copula: Natural = 0,
        refine: Natural = 0,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        self.out_dim = self.n_parameters * self.x_dim
        self.footprint = 3 * self.out_dim
        self.feature_dim, self.images = 2 * self.x_dim, (2, self.n_parameters)
        self.shares = LogShares(self.x_dim)
        if copula and refine:
            raise UserError(
                f"head.copula={copula} and head.refine={refine} each say how neighbours are "
                "alike: set one of them to 0"
            )
        self.copula = Copula(self.x_dim, copula) if copula else None
        self.chessboard = Chessboard(geometry, components, refine) if refine else None
        self.footprint += refine * self.x_dim

    def _measure(self, x: Tensor, c: Tensor) -> None:
        self.shares.add(torch.log(x.clamp(min=_NOTHING)), x > 0)

    def _measured(self) -> None:
        self.shares.finish()

    def _standard(self, x: Tensor) -> Tensor:
        return (torch.log(x.clamp(min=_NOTHING)) - self.shares.mean) / self.shares.std

    def features(self, x: Tensor) -> Tensor:
        """Standardised log-shares, 0 where empty, and which voxels are lit."""
        lit = (x > 0).to(x)
        return torch.cat([self._standard(x) * lit, lit], 1)

    def params(self, raw: Tensor, c: Tensor) -> Hurdle:
        """The mixture, and the cut in its units: :math:`+\\infty` where a layer is empty."""
        energies = self.conditions.layer_energies(c)
        cut = math.log(self.cut) - torch.log(energies)  # log(0) = -inf: no share is large enough
        edge = (self.layers.spread(cut) - self.shares.mean) / self.shares.std
        raw = raw.unflatten(1, (self.n_parameters, self.x_dim))
        return Hurdle(mixture.mixture(raw), edge)

    def from_mean(self, mean: Tensor, sigma: Tensor) -> Hurdle:
        """Shares as they are: positive ones are lit for certain, the others empty.

        A layer without a positive share stays empty: only the preprocessing knows its energy.

        Raises:
            UserError: There is a copula, or a second colour, which learn nothing of a plain mean.
        """
        if self.copula is not None or self.chessboard is not None:
            raise UserError("voxels that know of each other have no plain mean")
        lit = torch.where(mean > 0, _SURE, -_SURE).to(mean)
        center = self._standard(mean).unsqueeze(1).expand(-1, self.components, -1)
        nothing = torch.zeros_like(center)
        filled = self.layers.spread(self.layers.sum(mean.clamp(min=0.0)) > 0)
        edge = torch.where(filled, -torch.inf, torch.inf).to(mean)
        return Hurdle(Mixture(lit, nothing, center, nothing - 20.0), edge)

    def sample(self, params: Hurdle, noise: Noise) -> Tensor:
        m, edge = params
        possible = torch.isfinite(edge) | (edge < 0)
        edge = torch.where(possible, edge, 0.0)
        if self.copula is not None:
            lit, y = self.copula.draw(m, noise, edge)
        else:
            uniform = noise.uniform(2, self.x_dim)
            lit, y = mixture.draw(m, uniform, edge)
            if self.chessboard is not None:
                which = self.chessboard.second
                later = self.chessboard(m, self._seen(y, (lit & possible).to(y), edge))
                drawn = mixture.draw(later, uniform[..., which], edge[:, which])
                lit, y = lit.index_copy(1, which, drawn[0]), y.index_copy(1, which, drawn[1])
        share = torch.exp((y * self.shares.std + self.shares.mean).clamp(max=0.0))
        filled = self.layers.sum(possible.to(share)) > 0
        x = self._rescued(share * (lit & possible), self.layers.brightest(m.lit), filled.to(share))
        return self._normalised(x)

    def mean(self, params: Hurdle) -> Tensor:
        """Probability of being lit times the share at the mean of y, layers scaled to one."""
        possible = params.edge < torch.inf
        m = params.mixture
        probability, y = mixture.typical(m)
        if self.chessboard is not None:
            edge = torch.where(possible, params.edge, 0.0)
            probability, y = mixture.typical(self._refined(m, y, probability * possible, edge))
        share = torch.exp((y * self.shares.std + self.shares.mean).clamp(max=0.0))
        return self._normalised(torch.where(possible, share * probability, 0.0))

    def log_prob(self, params: Hurdle, x: Tensor) -> Tensor:
        lit, possible = x > 0, params.edge < torch.inf
        edge, y = torch.where(possible, params.edge, 0.0), self._standard(x) * lit.to(x)
        m = self._refined(params.mixture, y, lit.to(x), edge)
        voxels = mixture.log_prob(m, y, lit.to(x), edge)
        found = torch.where(possible, voxels, 0.0).sum(1)
        if self.copula is not None:
            found = found + self.copula.log_prob(self._scores(params, x, lit))
        return found

    def _refined(self, m: Mixture, y: Tensor, lit: Tensor, edge: Tensor) -> Mixture:
        """Mixtures given voxels of the first colour: the same where there is only one."""
        if self.chessboard is None:
            return m
        return self.chessboard.joined(m, self.chessboard(m, self._seen(y, lit, edge)))

    def _seen(self, y: Tensor, lit: Tensor, edge: Tensor) -> Seen:
        """What the second colour knows of voxels before the scaling, and of which ones are lit.

        Of other layers it knows what no scaling changes: so the sum of each layer is by itself.
        """
        first, mean, std = (
            cast(Chessboard, self.chessboard).first,
            self.shares.mean,
            self.shares.std,
        )
        log_share = (y * std + mean).clamp(max=0.0)
        taken = self.layers.spread(self.layers.sum(log_share.exp() * lit * first))
        relative = (log_share - taken.clamp(min=_NOTHING).log() - mean) / std
        return Seen(y * lit, relative * lit, lit, taken, edge)

    def _scores(self, params: Hurdle, x: Tensor, known: Tensor) -> Scores:
        """For the copula; of lit voxels that are not ``known`` that they are lit."""
        possible, lit = params.edge < torch.inf, x > 0
        edge, y = torch.where(possible, params.edge, 0.0), self._standard(x) * lit.to(x)
        scores = cast(Copula, self.copula).scores(params.mixture, y, edge, lit, known & possible)
        return scores._replace(side=torch.where(possible, scores.side, 0.0))

    def log_density(self, params: Hurdle, x: Tensor) -> Tensor:
        """Of the shares that sum to one: the sum before the scaling is integrated over."""
        m, possible = params.mixture, params.edge < torch.inf
        edge, lit = torch.where(possible, params.edge, 0.0), (x > 0) & possible
        y, std = self._standard(x), self.shares.std
        n_lit = self.layers.sum(lit.to(x))
        # A voxel that is alone has all there is, but its neighbours know how bright it was.
        fewest = 2 if self.chessboard is None else 1
        log_x = torch.where(lit, torch.log(x.clamp(min=_NOTHING)), -torch.inf)
        low = self.layers.largest(torch.where(lit, (edge - y) * std, -torch.inf))
        high = torch.where(n_lit > 1, -self.layers.largest(log_x), torch.inf)
        volume = self.layers.sum(torch.where(lit, log_x + std.log(), 0.0))

        def bits(m: Mixture) -> Tensor:
            """Of the layers."""
            cost = F.binary_cross_entropy_with_logits(m.lit, lit.to(x), reduction="none")
            return -self.layers.sum(torch.where(possible, cost, 0.0))

        def given(w: Tensor | None) -> Tensor:
            """The values of lit voxels, given factors of the copula where there is one."""

            def log_parts(log_sum: Tensor) -> Tensor:
                there = y + self.layers.spread(log_sum) / std
                seen = self._refined(m, there, lit.to(x), edge)
                density = mixture.log_density(seen, there, edge)
                if self.copula is not None and w is not None:
                    density = density + self.copula.of_known(lit_scores(m, there, edge), w)
                found = self.layers.sum(torch.where(lit, density, 0.0))
                return found if self.chessboard is None else found + bits(seen)

            shared = log_integral(log_parts, low, high)
            return torch.where(n_lit >= fewest, shared - volume, 0.0).sum(1)

        if self.chessboard is not None:
            dark = self._refined(m, y, lit.to(x), edge)
            return given(None) + torch.where(n_lit < fewest, bits(dark), 0.0).sum(1)
        found = bits(m).sum(1)
        if self.copula is None:
            return given(None) + found
        known = (self.layers.spread(n_lit) >= fewest) & lit
        free = Free(rates(m, y, edge) / std, self.layers)
        scores = self._scores(params, x, known)
        factors, log_weight = self.copula.points(scores, _RADII, free)
        parts = [given(w) + self.copula.of_sides(scores, w) for w in factors]
        return found + torch.logsumexp(torch.stack(parts) + log_weight, 0)
