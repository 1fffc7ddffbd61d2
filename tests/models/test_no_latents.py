"""A model without latents: what it learns is known."""

import torch

from caloman_cli.models.encoders.no_latents import NoLatents
from caloman_cli.models.heads.gaussian import Gaussian
from tests.contracts.groups import flat
from tests.models.adversarial import fit

V, N = 6, 2000


def made():
    torch.manual_seed(0)
    head = Gaussian("fixed", False, 1.0, **flat(V))
    return NoLatents((16,), layer_norm=False, x_dim=V, c_dim=3, head=head)


def rows():
    """x = W c + noise of width 1/2."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(N, 3, generator=generator)
    weights = torch.randn(3, V, generator=generator)
    return c @ weights + 0.5 * torch.randn(N, V, generator=generator), c


def test_it_learns_what_conditions_say_and_leaves_the_rest():
    x, c = rows()
    encoder = made()
    fit(encoder, (x, c), 200, lr=2e-2)
    left = encoder.reconstruction_error(x, c).detach().mean() / V
    assert 0.22 < float(left) < 0.28  # of the noise's variance, a quarter


def test_its_latent_says_nothing_and_is_not_read():
    x, c = rows()
    encoder = made()
    posterior = encoder.posterior(x, c)
    assert not posterior.kl().any()
    some = torch.linspace(-3, 3, N)[:, None]
    first, other = encoder.decode(some, c), encoder.decode(-some, c)
    for one, two in zip(first, other, strict=True):
        assert torch.equal(one, two)
