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
from caloman_cli.models.heads.copula import Copula, Free, Scores, lit_scores, rates
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

    mixture: mixture.Mixture
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

    Args:
        components: K.
        copula: R; 0: none.
        geometry: The detector.
        conditions: Tells the layers' energies.

    Raises:
        UserError: components is below 1.
    """

    kind = "estimate"  # of an integral

    def __init__(
        self,
        components: Count = 3,
        copula: Natural = 0,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        self.out_dim = self.n_parameters * self.x_dim
        self.footprint = 3 * self.out_dim
        self.feature_dim, self.images = 2 * self.x_dim, (2, self.n_parameters)
        self.shares = LogShares(self.x_dim)
        self.copula = Copula(self.x_dim, copula) if copula else None

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
            UserError: There is a copula, which learns nothing of a plain mean.
        """
        if self.copula is not None:
            raise UserError("a copula of voxels has no plain mean")
        lit = torch.where(mean > 0, _SURE, -_SURE).to(mean)
        center = self._standard(mean).unsqueeze(1).expand(-1, self.components, -1)
        nothing = torch.zeros_like(center)
        filled = self.layers.spread(self.layers.sum(mean.clamp(min=0.0)) > 0)
        edge = torch.where(filled, -torch.inf, torch.inf).to(mean)
        return Hurdle(mixture.Mixture(lit, nothing, center, nothing - 20.0), edge)

    def sample(self, params: Hurdle, noise: Noise) -> Tensor:
        m, edge = params
        possible = torch.isfinite(edge) | (edge < 0)
        edge = torch.where(possible, edge, 0.0)
        if self.copula is None:
            lit, y = mixture.draw(m, noise.uniform(2, self.x_dim), edge)
        else:
            lit, y = self.copula.draw(m, noise, edge)
        share = torch.exp((y * self.shares.std + self.shares.mean).clamp(max=0.0))
        filled = self.layers.sum(possible.to(share)) > 0
        x = self._rescued(share * (lit & possible), self.layers.brightest(m.lit), filled.to(share))
        return self._normalised(x)

    def mean(self, params: Hurdle) -> Tensor:
        """Probability of being lit times the share at the mean of y, layers scaled to one."""
        probability, y = mixture.typical(params.mixture)
        possible = params.edge < torch.inf
        share = torch.exp((y * self.shares.std + self.shares.mean).clamp(max=0.0))
        return self._normalised(torch.where(possible, share * probability, 0.0))

    def log_prob(self, params: Hurdle, x: Tensor) -> Tensor:
        lit, possible = x > 0, params.edge < torch.inf
        edge, y = torch.where(possible, params.edge, 0.0), self._standard(x) * lit.to(x)
        voxels = mixture.log_prob(params.mixture, y, lit.to(x), edge)
        found = torch.where(possible, voxels, 0.0).sum(1)
        if self.copula is not None:
            found = found + self.copula.log_prob(self._scores(params, x, lit))
        return found

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
        several = self.layers.sum(lit.to(x)) > 1  # a voxel that is alone has all there is
        bits = -F.binary_cross_entropy_with_logits(m.lit, lit.to(x), reduction="none")
        log_x = torch.where(lit, torch.log(x.clamp(min=_NOTHING)), -torch.inf)
        low = self.layers.largest(torch.where(lit, (edge - y) * std, -torch.inf))
        volume = self.layers.sum(torch.where(lit, log_x + std.log(), 0.0))

        def given(w: Tensor | None) -> Tensor:
            """The values of lit voxels, given factors of the copula where there is one."""

            def log_parts(log_sum: Tensor) -> Tensor:
                there = y + self.layers.spread(log_sum) / std
                density = mixture.log_density(m, there, edge)
                if self.copula is not None and w is not None:
                    density = density + self.copula.of_known(lit_scores(m, there, edge), w)
                return self.layers.sum(torch.where(lit, density, 0.0))

            shared = log_integral(log_parts, low, -self.layers.largest(log_x))
            return torch.where(several, shared - volume, 0.0).sum(1)

        found = torch.where(possible, bits, 0.0).sum(1)
        if self.copula is None:
            return given(None) + found
        scores = self._scores(params, x, (self.layers.spread(several.to(x)) > 0) & lit)
        free = Free(rates(m, y, edge) / std, self.layers)
        factors, log_weight = self.copula.points(scores, _RADII, free)
        parts = [given(w) + self.copula.of_sides(scores, w) for w in factors]
        return found + torch.logsumexp(torch.stack(parts) + log_weight, 0)
