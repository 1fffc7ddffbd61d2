"""Which layers see energy: an exact distribution of L bits, a network for each."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.energies.layer_networks import LayerNetworks, Steps


class FilledLayers(nn.Module):
    r"""p(m | context) of bits m (B, L), factorised exactly, bit by bit.

    :math:`p(m \mid c) = \prod_i \mathrm{Bernoulli}(m_i \mid m_{<i}, c)`, so that 45 layers cost no
    2^45 classes. Every bit has a network of its own, and a logit that is linear in the bits before
    it. One masked network for all of them has too few units per bit: for 45 layers the end of a
    shower, a train of 1 with holes, came out visibly wrong.

    Args:
        n_layers: L.
        context_dim: Width of the context.
        hidden: Width of the two hidden layers of a network.

    References:
        Uria, Murray, Larochelle (2013), RNADE: the real-valued neural autoregressive
        density-estimator, arXiv:1306.0186.
    """

    def __init__(self, n_layers: int, context_dim: int, hidden: int = 32) -> None:
        super().__init__()
        self.n_layers = n_layers
        self.networks = LayerNetworks(n_layers, context_dim, 1, hidden, 1, own=False)

    @torch.no_grad()
    def start_at(self, filled: Tensor, n: int) -> None:
        """Begin with the rates of the training split.

        Args:
            filled: How many showers have each bit set, shape (L,).
            n: Number of showers.
        """
        self.networks.last_bias[:, 0, 0] = torch.log((filled + 0.5) / (n - filled + 0.5)).float()

    def log_prob(self, bits: Tensor, context: Tensor) -> Tensor:
        """log p(m | context) [nats], shape (B,)."""
        outputs, shift = self.networks(context, bits, None)
        logits = outputs[..., 0] + shift
        return -F.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(1)

    @torch.no_grad()
    def sample(self, context: Tensor, uniform: Tensor) -> Tensor:
        """Bits (B, L) as 0.0 or 1.0, from uniform numbers (B, L)."""
        steps, last = Steps(self.networks, context), self.networks.last.mT.unbind()
        # Below the probability is below its logit.
        bounds = (torch.logit(uniform).t() - self.networks.last_bias[:, 0]).split(1)
        for k, bit in enumerate(steps.lines):
            inner, shift = steps(k)
            torch.gt(torch.addmm(shift, last[k], inner), bounds[k], out=bit)
        return steps.known.t()
