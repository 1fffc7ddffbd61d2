"""Encoders in closed form beside heads that speak of more than a mean."""

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.identity import Identity
from caloman_cli.models.encoders.pca import PCA
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import flat, make_encoder, make_head, share_rows, shares, tiny, toy_for
from tests.models.adversarial import fit

WALKS = ["autoregressive", "autoregressive_dipoles", "cylinder", "cylinder_direction"]
PLAIN = ["gaussian", "hurdle_mixture"]


@pytest.mark.parametrize("option", ["pca", "identity"])
@pytest.mark.parametrize("head", WALKS + PLAIN)
def test_a_network_speaks_where_a_mean_does_not_do(option, head):
    encoder = make_encoder(option, head, toy_for(head, tiny()))
    assert encoder.closed == (head in PLAIN)
    own = [name for name, _ in encoder.named_parameters() if not name.startswith("head.")]
    assert bool(own) != encoder.closed


@pytest.mark.parametrize(("kind", "names"), [(PCA, {"center", "axes", "sigma"}), (Identity, ())])
def test_a_closed_decoder_has_the_state_that_it_always_had(kind, names):
    """Model files of versions that had no other."""
    sizes = {"x_dim": 6, "c_dim": 1, "head": Gaussian("fixed", **flat(6))}
    model = kind(2, **sizes) if kind is PCA else kind(**sizes)
    assert model.state_dict().keys() == set(names)


@pytest.mark.parametrize("option", ["pca", "identity"])
def test_what_cannot_be_said_in_closed_form_is_refused(option):
    geometry = tiny()
    sizes = {"x_dim": geometry.n_voxels, "c_dim": shares(geometry).c_dim}
    with pytest.raises(UserError, match=f"encoder={option}.*head=autoregressive .*=learned"):
        {"pca": PCA, "identity": Identity}[option](
            decoder="closed",
            **({"latent_dim": 2} if option == "pca" else {}),
            **sizes,
            head=make_head("autoregressive", geometry),
        )


def test_there_are_no_more_components_than_features():
    """A cylinder's walk shows rings, of which there are fewer than voxels."""
    geometry = toy_for("cylinder", tiny())
    head = make_head("cylinder", geometry)
    sizes = {"x_dim": geometry.n_voxels, "c_dim": shares(geometry).c_dim, "head": head}
    assert head.feature_dim < geometry.n_voxels
    with pytest.raises(UserError, match=f"latent_dim={head.feature_dim + 1}: .*=cylinder shows"):
        PCA(head.feature_dim + 1, **sizes)


def test_latents_are_the_components_of_what_a_head_shows():
    geometry = tiny()
    x, c = share_rows(geometry)
    encoder = make_encoder("pca", "autoregressive", geometry)
    encoder.prepare(TensorRows(x, c))
    seen = encoder.head.features(x).double()
    seen = seen - seen.mean(0)
    axes = torch.linalg.svd(seen, full_matrices=False).Vh[: encoder.n_learned]
    expected = (seen @ axes.T).abs()
    torch.testing.assert_close(encoder.encode(x, c).abs().double(), expected, atol=1e-4, rtol=1e-4)


def test_the_network_reads_latents_of_one_scale():
    """And of the voxels that are always dark, which have none, numbers that are not endless."""
    x, c = torch.randn(500, 6) * torch.logspace(-3, 2, 6) + 5.0, torch.zeros(500, 1)
    x[:, 2] = 0.0
    encoder = Identity("learned", (8,), x_dim=6, c_dim=1, head=Gaussian("fixed", **flat(6)))
    encoder.prepare(TensorRows(x, c))
    read = []
    encoder.decoder.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    encoder.decode(encoder.encode(x, c), c)
    std = read[0][:, :6].std(0)
    varies = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(std[varies], torch.ones(5), rtol=1e-2, atol=0)
    assert std[2] == 0


def test_a_learned_decoder_bends_what_a_closed_one_leaves_flat():
    """x = (t, t^2): the plane through the first leaves the variance of the second."""
    torch.manual_seed(0)
    t, c = torch.randn(2000, 1), torch.zeros(2000, 1)
    x = torch.cat([3.0 * t, t.square()], 1)
    errors = []
    for decoder in ("closed", "learned"):
        head = Gaussian("fixed", value=0.1, **flat(2))
        encoder = PCA(1, decoder=decoder, hidden=(32,), x_dim=2, c_dim=1, head=head)
        if decoder == "closed":
            encoder.prepare(TensorRows(x, c))
        else:
            fit(encoder, (x, c), 300, 1e-2)
        with torch.no_grad():
            errors.append(float(encoder.reconstruction_error(x, c).mean()))
    assert errors[0] == pytest.approx(float(x[:, 1].var()), rel=0.02)
    assert errors[1] < 0.02 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["pca", "identity"])
@pytest.mark.parametrize("head", WALKS)
def test_latents_stay_those_of_the_manifold_while_the_head_learns(option, head):
    """[nats]: it comes to say more of a shower, by the same latents as before."""
    torch.manual_seed(0)
    geometry = toy_for(head, tiny())
    x, c = share_rows(geometry)
    encoder = make_encoder(option, head, geometry)
    encoder.prepare(TensorRows(x, c))
    n, fixed = encoder.n_learned, {k: v.clone() for k, v in encoder.named_buffers()}
    with torch.no_grad():
        before = encoder.encode(x, c)[:, :n]
        losses = [float(encoder.scores((x, c))["loss"])]
    optimiser = torch.optim.Adam(encoder.parameters(), 3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        encoder.loss((x, c)).backward()
        optimiser.step()
    encoder.eval()
    with torch.no_grad():
        losses.append(float(encoder.scores((x, c))["loss"]))
        z = encoder.encode(x, c)
        assert torch.equal(z[:, :n], before)
        told = [-encoder.head.log_prob(encoder.decode(z, c), x).mean() for z in (z, z.roll(1, 0))]
    assert all(torch.equal(value, fixed[name]) for name, value in encoder.named_buffers())
    assert losses[1] < losses[0] - 1.0
    assert told[0] < told[1] - 1.0  # of a shower by its own latents, and by another's
