"""Spline flow on the ratios of layer energies, with empty layers explicit."""

import math
from typing import Literal

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Natural, Positive, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.energies.base import EnergyModel
from caloman_cli.models.energies.energy_table import EnergyTable
from caloman_cli.models.energies.filled_layers import FilledLayers
from caloman_cli.models.energies.ratios import from_ratios, to_ratios
from caloman_cli.models.energies.tails import bend, unbend
from caloman_cli.models.energies.training_layers import CHUNK, Order, faintest_first, measure
from caloman_cli.models.nn.flows import Bins, build_nsf
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, iterate

Scaling = Literal["per_energy", "max_abs"]
Tails = Literal["linear", "logarithmic"]


@checked
class SplineFlowEnergy(EnergyModel):
    r"""p(layers | E_inc) = p(which layers are empty | E_inc) x p(energies of the others | ...).

    The empty layers are bits, each with a network of its own, exact for any number of layers. The
    others
    are a conditional neural spline flow on the logits of CaloFlow's ratios, see
    :func:`caloman_cli.models.energies.ratios.to_ratios`, scaled by :class:`EnergyTable`; its
    context is the incident energy and the bits of the non-empty layers.

    The flow has always L coordinates: those that a shower's empty layers leave undefined are
    filled with standard normal noise in training and ignored in sampling. ``log_prob`` takes the
    fill's log-density off again. It is exact for showers without undefined coordinates, and for
    all where the flow maps the fill independently of the rest, which is what the noise teaches
    it; otherwise its mean over fills is a lower bound. Outside training the fill is 0.

    Generated non-empty layers have at least the smallest energy of a non-empty training layer.

    Args:
        n_layers: Coupling layers of the flow.
        hidden: Width of its residual networks.
        n_blocks: Residual blocks per network.
        n_bins: Bins of a spline.
        tail_bound: Where the splines end, in scaled coordinates; the identity is outside.
        mask_hidden: Width of the hidden layers of a network of an empty layer.
        scaling: ``per_energy``: mean 0 and standard deviation 1 at each incident energy;
            ``max_abs``: divided by the largest absolute value, as CaloMan.
        order: In which order layers take their shares of what is left: as they lie in the
            ``detector``, or from the faintest of the training split on, the ``brightest_last``.
            Then what is left is nearly E_tot for every faint layer, and an edge at one energy in
            MeV, of single particles that cross a layer, stays an edge at each incident energy.
            Behind it in the detector are a few faint layers, which wash it out.
        tails: What the flow sees of scaled coordinates beyond 4: the ``linear`` ones, or
            ``logarithmic`` ones, which keep a shower that is 70 widths off within the splines.
        geometry: The detector.

    Raises:
        UserError: An argument is not one of these.

    References:
        Durkan et al. (2019), Neural spline flows, arXiv:1906.04032.
        Krause, Shih (2021), CaloFlow, arXiv:2106.05285.
    """

    kind = "estimate"
    floor: Tensor
    order: Tensor

    def __init__(
        self,
        n_layers: Count = 4,
        hidden: Count = 64,
        n_blocks: Natural = 2,
        n_bins: Bins = 16,
        tail_bound: Positive = 8.0,
        mask_hidden: Count = 32,
        scaling: Scaling = "per_energy",
        order: Order = "detector",
        tails: Tails = "linear",
        *,
        geometry: Geometry,
    ) -> None:
        super().__init__()
        size = geometry.n_layers
        self.scaling, self.max_response = scaling, geometry.max_response
        self.filled_layers = FilledLayers(size, 1, mask_hidden)
        self.table = EnergyTable(size)
        self.flow = build_nsf(
            size,
            1 + size,
            n_layers=n_layers,
            hidden=hidden,
            n_blocks=n_blocks,
            n_bins=n_bins,
            tail_bound=tail_bound,
        )
        self.register_buffer("floor", torch.zeros(()))
        # Found in training, so part of the state; the detector's is known.
        self.sorts, self.bends = order == "brightest_last", tails == "logarithmic"
        self.register_buffer("order", torch.arange(size), persistent=self.sorts)

    def prepare(self, train: RowSource) -> None:
        """Measure scales and the smallest layer energy on rows (layers (L,), e_inc (1,)) MeV."""
        if self.sorts:
            self.order.copy_(faintest_first(train))
        seen = measure(train, self.max_response)
        batches = []
        for layers, e_inc in iterate(train, CHUNK):
            ratios = to_ratios(layers[:, self.order], e_inc, self.max_response)
            batches.append((ratios.y, ratios.valid, e_inc))
        self.filled_layers.start_at(seen.filled, len(train))
        self.floor.fill_(seen.floor)
        self.table.place(seen.e_inc)
        if self.scaling == "per_energy":
            self.table.standardize(batches)
        else:
            self.table.divide_by_largest(batches)

    def sample(self, e_inc: Tensor, noise: Noise) -> Tensor:
        feature = self.table.feature(e_inc)
        bits = self.filled_layers.sample(feature, noise.uniform(self.filled_layers.n_layers))
        base = noise.normal(self.filled_layers.n_layers)
        scaled = self.flow.inverse(base, torch.cat([feature, bits], 1))
        mean, scale = self.table.at(e_inc)
        filled = bits > 0
        if self.bends:
            scaled = unbend(scaled)
        y = mean + scale * scaled
        layers = from_ratios(y, filled[:, self.order], e_inc, self.max_response)
        layers = torch.empty_like(layers).index_copy_(1, self.order, layers)
        return torch.where(filled, layers.to(base.dtype).clamp(min=self.floor), 0.0)

    def log_prob(self, layers: Tensor, e_inc: Tensor) -> Tensor:
        """Probability of the empty layers times density of the others, per MeV^(non-empty)."""
        feature = self.table.feature(e_inc)
        ratios = to_ratios(layers[:, self.order], e_inc, self.max_response)
        bits = (layers > 0).to(feature.dtype)
        mean, scale = self.table.at(e_inc)
        fill = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        scaled = (ratios.y.float() - mean) / scale
        if self.bends:
            scaled, log_slope = bend(scaled)
            scale = scale * torch.exp(-log_slope)
        scaled = torch.where(ratios.valid, scaled, fill)
        flow = self.flow.log_prob(scaled, torch.cat([feature, bits], 1))
        fill_density = -0.5 * (fill.square() + math.log(2 * math.pi))
        defined = flow - torch.where(ratios.valid, 0.0, fill_density).sum(1)
        volume = torch.where(ratios.valid, torch.log(scale), 0.0).sum(1) + ratios.log_volume
        density = torch.where(ratios.valid[:, 0], defined - volume, 0.0)
        return (self.filled_layers.log_prob(bits, feature) + density).to(feature.dtype)
