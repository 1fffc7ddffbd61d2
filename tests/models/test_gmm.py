"""The mixture of normals: against torch's own, and learned."""

import pytest
import torch
from scipy.stats import kstest

from caloman_cli.models.densities import GMM
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.clusters import chosen, k_means
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.models.adversarial import fit

distributions = torch.distributions


def covariances(components: int, dim: int) -> torch.Tensor:
    mixing = torch.randn(components, dim, dim, dtype=torch.float64)
    return mixing @ mixing.mT / dim + 0.2 * torch.eye(dim, dtype=torch.float64)


def told(covariance="full"):
    """A mixture of three normals in four dimensions, by GMM and by torch."""
    torch.manual_seed(4)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    mean, matrix = 2.0 * torch.randn(3, 4, dtype=torch.float64), covariances(3, 4)
    if covariance == "diagonal":
        matrix = matrix * torch.eye(4)
    density = GMM(3, (), covariance=covariance, scaler="none", latents=Latents(4), c_dim=0).eval()
    last = density.network[-1]
    with torch.no_grad():
        last.weight.zero_()
        said = [
            density._told(float(w.log()), *of)
            for w, *of in zip(weights, mean, matrix, strict=True)
        ]
        last.bias.copy_(torch.stack(said).flatten())
    normals = distributions.MultivariateNormal(mean.float(), matrix.float())
    chance = distributions.Categorical(weights.float())
    return density, distributions.MixtureSameFamily(chance, normals)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_it_is_torchs_mixture(covariance):
    density, mixture = told(covariance)
    z = mixture.sample((500,))
    with torch.no_grad():
        found = density.log_prob(z, z[:, :0])
    torch.testing.assert_close(found, mixture.log_prob(z), rtol=1e-4, atol=1e-4)


def test_samples_have_the_mixtures_moments():
    density, mixture = told()
    with torch.no_grad():
        z = density.sample(torch.zeros(60_000, 0), Noise(0, 0, 60_000))
    torch.testing.assert_close(z.mean(0), mixture.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(z.T).diagonal(), mixture.variance, rtol=0.03, atol=0)
    expected = torch.cov(mixture.sample((200_000,)).T)
    torch.testing.assert_close(torch.cov(z.T), expected, rtol=0, atol=0.12)


def test_a_memory_limit_changes_nothing(monkeypatch):
    density, mixture = told()
    z = mixture.sample((50,))
    with torch.no_grad():
        whole = density.log_prob(z, z[:, :0]), density.sample(z[:, :0], Noise(1, 0, 50))
        monkeypatch.setattr("caloman_cli.models.densities.gmm._VALUES", 1)
        parts = density.log_prob(z, z[:, :0]), density.sample(z[:, :0], Noise(1, 0, 50))
    torch.testing.assert_close(parts, whole)


def two_normals(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A third of the rows at c + (-3, 0), the others at c + (3, 0), with opposite correlations."""
    c = torch.randn(n, 2)
    first = torch.rand(n, 1) < 1 / 3
    epsilon = torch.randn(n, 2)
    tilt = torch.where(first, 0.8, -0.8)
    apart = torch.cat([epsilon[:, :1], tilt * epsilon[:, :1] + 0.6 * epsilon[:, 1:]], 1)
    centre = torch.where(first, -3.0, 3.0) * torch.tensor([1.0, 0.0])
    return c + centre + 0.5 * apart, c


def check_two_normals(density: GMM, atol: float) -> None:
    c = torch.tensor([[0.0, 0.0], [1.5, -0.5]])
    with torch.no_grad():
        weights, mean, slopes, sigma = density._normals(c)
    order = mean[0, :, 0].argsort()
    mean = mean[:, order] * density.scaler.scale + density.scaler.shift
    expected = c[:, None] + torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    torch.testing.assert_close(mean, expected, rtol=0, atol=atol)
    weights = weights[:, order].exp()
    torch.testing.assert_close(weights, torch.tensor([[1 / 3, 2 / 3]] * 2), rtol=0, atol=atol / 2)
    # In the latents' own units, of regressions and of what they leave.
    scale = density.scaler.scale
    slope = slopes[:, order][..., 1, 0] * scale[1] / scale[0]
    torch.testing.assert_close(slope, torch.tensor([[0.8, -0.8]] * 2), rtol=0, atol=atol)
    left = sigma[:, order] * scale
    torch.testing.assert_close(left, torch.tensor([0.5, 0.3]).expand(2, 2, 2), rtol=0, atol=atol)


def test_the_first_guess_finds_two_normals():
    """Wherever the condition moves them."""
    torch.manual_seed(0)
    density = GMM(2, (16,), latents=Latents(2), c_dim=2).eval()
    density.prepare(TensorRows(*two_normals(10_000)))
    check_two_normals(density, 0.15)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_fewer_points_than_components(rows):
    torch.manual_seed(0)
    density = GMM(6, (8,), scaler="none", latents=Latents(3), c_dim=1)
    density._guess(torch.randn(rows, 3).double(), torch.randn(rows, 1).double())
    with torch.no_grad():
        z = density.sample(torch.zeros(20, 1), Noise(0, 0, 20))
        assert torch.isfinite(density.log_prob(z, torch.zeros(20, 1))).all()


def test_a_choice_follows_the_weights():
    weights = torch.tensor([[0.1, 0.6, 0.3]]).log()
    uniform = torch.tensor([[0.05], [0.11], [0.69], [0.71], [1 - 2**-24]])
    assert chosen(weights.expand(5, 3), uniform).tolist() == [0, 1, 1, 2, 2]


def test_k_means_leaves_torchs_numbers_alone_and_finds_separate_points():
    points = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]])
    centres, own = k_means(points, 2)
    assert own[0] == own[1] != own[2] == own[3]
    torch.testing.assert_close(centres[own[0]], torch.tensor([0.05, 0.0]))
    assert len(k_means(points[:1].expand(4, 2), 3)[0]) == 1


@pytest.mark.slow
def test_two_normals_are_recovered():
    torch.manual_seed(0)
    density = GMM(2, (32,), latents=Latents(2), c_dim=2)
    fit(density, two_normals(20_000), 600, 5e-3, batch=512)
    check_two_normals(density, 0.05)


@pytest.mark.slow
def test_the_likelihood_of_a_gaussian():
    """Within 0.03 nats per dimension, with more components than it takes."""
    torch.manual_seed(0)
    matrix = covariances(1, 4)[0].float()
    normal = distributions.MultivariateNormal(torch.zeros(4), matrix)
    density = GMM(5, (32,), latents=Latents(4), c_dim=1)
    z = normal.sample((20_000,))
    fit(density, (z, torch.randn(len(z), 1)), 500, 3e-3)
    z = normal.sample((4000,))
    with torch.no_grad():
        excess = (normal.log_prob(z) - density.log_prob(z, torch.randn(4000, 1))).mean() / 4
    assert -0.005 < float(excess) < 0.03


@pytest.mark.slow
def test_latents_follow_the_condition():
    """z | c ~ N(c, 0.1^2): the slope of E[z | c] is 1 within 0.02."""
    torch.manual_seed(0)
    c = torch.randn(20_000, 2)
    density = GMM(5, (32,), latents=Latents(2), c_dim=2)
    fit(density, (c + 0.1 * torch.randn(20_000, 2), c), 500, 3e-3)
    with torch.no_grad():
        z = density.sample(c, Noise(1, 0, len(c)))
    slope = (z * c).sum(0) / c.square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=0.02)
    torch.testing.assert_close((z - c).std(0), torch.full((2,), 0.1), rtol=0.05, atol=0)


@pytest.mark.slow
def test_values_of_the_distribution_function_are_uniform():
    """Of rows not seen, whose two widths, places and weights all follow c."""

    def rows(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        c = torch.randn(n, 1)
        sign = torch.where(torch.rand(n, 1) < c.sigmoid(), 1.0, -1.0)
        return sign * (1.5 + 0.5 * c.tanh()) + 0.3 * (0.4 * c).exp() * torch.randn(n, 1), c

    torch.manual_seed(0)
    density = GMM(4, (32, 32), latents=Latents(1), c_dim=1)
    fit(density, rows(40_000), 1500, 5e-3, batch=512)
    z, c = rows(2000)
    grid = torch.linspace(-8, 8, 1601)
    with torch.no_grad():
        pairs = grid.repeat(len(z))[:, None], c.repeat_interleave(len(grid), 0)
        mass = density.log_prob(*pairs).exp().unflatten(0, (len(z), -1)).cumsum(1) * 0.01
        drawn = density.sample(c, Noise(0, 0, len(c)))
    torch.testing.assert_close(mass[:, -1], torch.ones(len(z)), rtol=0, atol=1e-3)
    for values in (z, drawn):
        place = ((values[:, 0] + 8) / 0.01).long()
        assert kstest(mass[torch.arange(len(z)), place].numpy(), "uniform").pvalue > 0.01
