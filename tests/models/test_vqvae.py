"""The vector-quantised autoencoder: words that follow, words that come back, moments as codes."""

import math

import pytest
import torch

from caloman_cli.data.files import load_state
from caloman_cli.models.encoders.vqvae import VQVAE
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.likelihood import _joint
from caloman_cli.models.nn.codebook import Bins, Codebook
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import flat, make_encoder, share_rows, showers, tiny
from tests.contracts.test_encoders import built
from tests.models.adversarial import fit
from tests.training.conftest import make_trainer
from tests.training.models import PowerCut
from tests.training.test_resume import Interrupted, power_cut

__all__ = ["make_trainer"]

WALK = "autoregressive_dipoles"


def build(x_dim, latent_dim, **settings):
    head = Gaussian("fixed", **flat(x_dim))
    sizes = {"x_dim": x_dim, "c_dim": 1, "head": head}
    return VQVAE(latent_dim, conditional=False, **settings, **sizes)


def usage(codes):
    """exp of the entropy of codes, whatever they are."""
    shares = torch.unique(codes, return_counts=True)[1] / codes.numel()
    return float(torch.special.entr(shares).sum().exp())


def ring(n, n_modes):
    """Well separated Gaussians, (n, 2), and which of them a row is of."""
    which = torch.arange(n) % n_modes
    angle = 2 * math.pi * which / n_modes
    return 5 * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(n, 2), which


@pytest.mark.slow
@pytest.mark.parametrize("n_modes", [5, 8])
def test_of_as_many_gaussians_as_words_each_has_its_own(n_modes):
    """The perplexity is their number to 5 %."""
    torch.manual_seed(0)
    x, which = ring(1200, n_modes)
    model = build(2, 1, hidden=[16], n_codes=n_modes, code_width=2)
    c = torch.zeros(len(x), 1)
    fit(model, (x, c), 400, 3e-3, 128)
    codes = model.encode(x, c)[:, 0]
    assert usage(codes) == pytest.approx(n_modes, rel=0.05)
    assert float(model.codebook.perplexity()) == pytest.approx(n_modes, rel=0.05)
    assert len(torch.unique(n_modes * which + codes)) == n_modes


@pytest.mark.slow
def test_five_dimensions_in_many_are_reconstructed():
    """By five codes, to less than 1 % of the variance."""
    torch.manual_seed(0)
    z = torch.randn(20_000, 5)
    x, c = z @ torch.randn(5, 368) / 5**0.5, torch.zeros(20_000, 1)
    model = build(368, 5, hidden=[64], n_codes=512, code_width=2)
    fit(model, (x, c), 1000, 3e-3)
    with torch.no_grad():
        left = model.reconstruction_error(x, c).mean() / x.var(0).sum()
    assert float(left) < 0.01
    assert float(model.codebook.perplexity()) > 256


def test_words_begin_far_from_each_other():
    """One in each of twenty groups, which random rows would hit twice."""
    torch.manual_seed(0)
    groups = 100 * torch.randn(20, 3)
    book = Codebook(20, 3, 0.99, 0.03)
    book.begin((groups.unsqueeze(1) + torch.randn(20, 30, 3)).flatten(0, 1))
    torch.testing.assert_close(book.share, torch.full((20,), 1 / 20))


def whole(head):
    """A two-step model of few codes, of showers."""
    groups = {"preprocess": "shares", "energy": "autoregressive", "encoder": "vqvae", "head": head,
              "density": "ar_codes"}  # fmt: skip
    torch.manual_seed(0)
    model = built(groups, tiny())
    voxels, e_inc = showers(tiny(), 6)
    model.preprocess.fit(TensorRows(voxels, e_inc))
    model.encoder.prepare(TensorRows(*model.preprocess(voxels, e_inc)))
    return model, voxels, e_inc


@torch.no_grad()
def test_a_showers_own_codes_bound_its_likelihood():
    """By their term in the sum over all codes, which is the evidence."""
    model, voxels, e_inc = whole("autoregressive")
    assert model.kind == "bound"
    x, c = model.preprocess(voxels, e_inc)
    own = model.likelihood(voxels, e_inc)
    assert own.log_weights.shape == (6, 1)
    every = torch.cartesian_prod(*[torch.arange(8.0)] * 3)
    rows = every.repeat_interleave(6, 0), x.repeat(512, 1), c.repeat(512, 1)
    terms = _joint(model, *rows).unflatten(0, (512, 6))
    evidence = torch.logsumexp(terms, 0)
    mine = _joint(model, model.encoder.encode(x, c), x, c)
    assert (mine < evidence).all()
    assert (terms - mine).abs().amin(0).max() < 1e-3
    rest = own.log_weights[:, 0] - mine  # to units of MeV
    assert ((own.layers + evidence + rest) > own.total).all()


def test_what_draws_no_voxels_has_a_score_only():
    assert whole("gaussian")[0].kind == "score"


def test_words_are_means_of_their_vectors():
    """As sums and counts would have it that are averaged each by itself."""
    torch.manual_seed(0)
    book = Codebook(6, 3, 0.9, 0.0)
    book.begin(torch.randn(50, 3))
    size, total = book.share.clone(), book.share[:, None] * book.words
    for step in range(200):
        vectors = torch.randn(40, 3) + 1
        codes = book.nearest(vectors)
        away = (vectors[:, None] - book.words).square().sum(2)
        assert torch.equal(codes, away.argmin(1))
        seen = torch.nn.functional.one_hot(codes, 6).float()
        book.follow(vectors, codes)
        decay = min(0.9, (1 + step) / (10 + step))
        size = decay * size + (1 - decay) * seen.mean(0)
        total = decay * total + (1 - decay) * seen.T @ vectors / 40
    torch.testing.assert_close(book.share, size)
    torch.testing.assert_close(book.words, total / size[:, None], rtol=1e-4, atol=1e-4)


def test_a_word_that_is_never_seen_stays_where_it_is():
    """Without restarts; shares that underflow make no NaN."""
    book = Codebook(2, 1, 0.5, 0.0)
    book.words.copy_(torch.tensor([[0.0], [9.0]]))
    for _ in range(400):
        book.follow(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64))
    assert book.words.tolist() == [[0.0], [9.0]]


@pytest.mark.parametrize(("dead", "back"), [(0.03, True), (0.0, False)])
def test_dead_words_come_back(dead, back):
    """Killed by taking them far away; without restarts they stay there."""
    torch.manual_seed(0)
    model = build(2, 2, hidden=[16], n_codes=16, code_width=2, decay=0.9, dead=dead)
    x, c = torch.randn(2000, 2), torch.zeros(2000, 1)
    fit(model, (x, c), 30, 3e-3, 128)
    before = usage(model.encode(x, c))
    model.codebook.words[1:] = 1e3
    assert usage(model.encode(x, c)) == 1.0
    model.train()
    for _ in range(120):
        rows = torch.randint(len(x), (128,))
        model.loss((x[rows], c[rows]))
    after = usage(model.eval().encode(x, c))
    assert (after > 0.7 * before) == back
    assert back or after == 1.0


def test_words_stay_as_they_are_where_nothing_is_learned():
    torch.manual_seed(0)
    model = build(4, 2, hidden=[8], n_codes=8, code_width=2).eval()
    before = model.codebook.words.clone()
    model.loss((torch.randn(30, 4), torch.zeros(30, 1)))
    model.scores((torch.randn(30, 4), torch.zeros(30, 1)))
    assert torch.equal(model.codebook.words, before)


def test_slopes_go_through_the_words():
    """The vectors' are those of the likelihood at the words, and of the commitment."""
    torch.manual_seed(0)
    model = build(4, 3, hidden=[8], n_codes=8, code_width=2, commitment=0.7).eval()
    x, c = torch.randn(20, 4), torch.zeros(20, 1)
    model.prepare(TensorRows(x, c))
    vectors = model._vectors(x, c).detach().requires_grad_()
    model._vectors = lambda *_: vectors
    (found,) = torch.autograd.grad(model.loss((x, c)), vectors)
    words = model.codebook(model.codebook.nearest(vectors)).requires_grad_()
    raw = model.decoder(words.flatten(1))
    likelihood = model.head.log_prob(model.head.params(raw, c), x).mean()
    (slope,) = torch.autograd.grad(-likelihood, words)
    away = 2 * 0.7 * (vectors - words).detach() / 20
    torch.testing.assert_close(found, slope + away)
    assert float(away.abs().max()) > 0.01


def test_the_words_that_are_averaged_are_those_that_decode():
    model = build(4, 2, hidden=[8], n_codes=8, code_width=2)
    (followed,) = model.averaged_buffers()
    z, c = torch.randint(8, (5, 2)).float(), torch.zeros(5, 1)
    before = model.head.mean(model.decode(z, c))
    followed.add_(1.0)
    assert (model.head.mean(model.decode(z, c)) != before).all()
    model.train().loss((torch.randn(30, 4), torch.zeros(30, 1)))
    assert model.averaged_buffers()[0] is followed


def test_bins_hold_as_many_rows_each():
    torch.manual_seed(0)
    bins, numbers = Bins(2, 8), torch.stack([torch.randn(800), torch.rand(800).exp()], 1)
    bins.fit(numbers)
    codes = bins(numbers)
    for m in range(2):
        assert torch.bincount(codes[:, m].long(), minlength=8).tolist() == [100] * 8
        for code in range(8):
            mine = numbers[codes[:, m] == code, m]
            assert float(bins.values[m, code]) == pytest.approx(float(mine.mean()), abs=1e-4)
    assert torch.equal(bins(bins.means(codes)), codes)
    far = torch.tensor([[-1e9, 1e9]])
    assert bins(far).tolist() == [[0.0, 7.0]]


def test_edges_of_bins_are_between_numbers():
    """A number that comes again a rounding later keeps its code, whatever the batch it is in."""
    numbers = torch.tensor([4.0, 1.0, 3.0, 2.0, 6.0, 5.0])[:, None]
    bins = Bins(1, 3)
    bins.fit(numbers)
    torch.testing.assert_close(bins.edges, torch.tensor([[2.5, 4.5]]))
    for rounding in (-1e-6, 1e-6):
        assert torch.equal(bins(numbers + rounding), bins(numbers))


def test_bins_of_numbers_that_are_often_the_same():
    """Or fewer than bins: what is given is given back."""
    numbers = torch.tensor([0.0] * 6 + [1.0, 2.0, 3.0, 4.0])[:, None]
    bins = Bins(1, 5)
    bins.fit(numbers)
    assert float(bins.means(bins(torch.zeros(1, 1)))) == 0.0
    assert float((bins.means(bins(numbers)) - numbers).abs().max()) <= 0.5
    bins = Bins(1, 32)
    bins.fit(numbers)
    torch.testing.assert_close(bins.means(bins(numbers)), numbers)


@torch.no_grad()
def test_the_decoder_hears_of_moments_as_bins_have_them(tiny_geometry):
    """Latents hold their codes behind the learned ones, which a new model has of its own file."""
    model = make_encoder("vqvae", WALK, tiny())
    x, c = share_rows(tiny())
    model.prepare(TensorRows(x, c))
    exact, z = model.head.moments(x, c), model.eval().encode(x, c)
    assert model.latents.n_codes == 8
    assert z.shape[1] == model.n_learned + exact.shape[1] == model.latents.dim
    assert set(z.unique().tolist()) <= set(range(8))
    heard = model.decode(z, c).moments
    torch.testing.assert_close(heard, model.bins.means(z[:, model.n_learned :]))
    left = (heard - exact).square().mean(0) / exact.var(0)
    assert float(left.mean()) < 0.2  # of eight bins
    fresh = make_encoder("vqvae", WALK, tiny())
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.eval().encode(x, c), z)


def test_a_training_that_was_cut_ends_as_if_it_were_not(make_trainer):
    """Words and their shares go on where they were; the model's are those that were averaged."""
    torch.manual_seed(3)
    x, c = torch.randn(60, 4), torch.zeros(60, 1)
    rows, validation = TensorRows(x[:40], c[:40]), TensorRows(x[40:], c[40:])
    settings = {"epochs": 3, "ema": 0.9, "checkpoint_minutes": 1e-9}

    def fresh():
        torch.manual_seed(5)
        return build(4, 2, hidden=[8], n_codes=8, code_width=2)

    whole, cut = fresh(), fresh()
    make_trainer("whole", **settings).fit("encoder", whole, rows, validation)
    with pytest.raises(PowerCut):
        rows_until = Interrupted(rows, 8, power_cut)
        make_trainer("cut", **settings).fit("encoder", fresh(), rows_until, validation)
    trainer = make_trainer("cut", **settings)
    trainer.fit("encoder", cut, rows, validation)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, cut.state_dict()[name]), name
    raw = load_state(trainer.run.path / "encoder/last.pt")["model"]["codebook.words"]
    assert not torch.equal(raw, cut.codebook.words)
