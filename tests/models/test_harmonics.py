"""Harmonics in alpha that latents hold of layers."""

import cmath
import math

import pytest
import torch

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.models.encoders.vae import VAE
from caloman_cli.models.heads.harmonics import Harmonics
from caloman_cli.models.heads.multiscale import Multiscale
from tests.contracts.groups import share_rows, shares

RINGS = (0.0, 5.0, 10.0)
DETECTOR = Geometry(
    "leaning",
    "photon",
    (Layer(0, RINGS, 1), Layer(1, RINGS, 10), Layer(2, RINGS, 4), Layer(3, RINGS, 2)),
    0.1,
    2.0,
    incident_range=(1e3, 1e5),
)


def of_layer(values, number):
    """The harmonics of a layer, complex."""
    whole = torch.view_as_complex(values.unflatten(1, (-1, 2)).contiguous())
    return whole[:, {1: [0, 2], 2: [1]}[number]]


def test_a_lit_slice_has_its_angle():
    """Of as many slices as a harmonic needs: four have a dipole, two or one have nothing."""
    harmonics = Harmonics(DETECTOR, 2, 4)
    assert harmonics.dim == 6
    x = torch.zeros(1, DETECTOR.n_voxels)
    x[0, DETECTOR.slices[1].start + 3 * 2 + 1] = 1.0  # the fourth slice's outer ring
    x[0, DETECTOR.slices[2].start] = 1.0
    energies = torch.full((1, 4), 800.0)  # four times as bright as typical
    found = harmonics.moments(x, energies)
    angle = 3 * math.tau / 10
    for m in (1, 2):
        expected = 2.0 * cmath.exp(1j * m * angle)
        assert complex(of_layer(found, 1)[0, m - 1]) == pytest.approx(expected, abs=1e-5)
    assert complex(of_layer(found, 2)[0, 0]) == pytest.approx(2.0, abs=1e-5)


def test_layers_that_lean_alike_are_one_combination():
    """Twelve layers follow one direction, each with its own weight."""
    layers = tuple(Layer(number, RINGS, 8) for number in range(12))
    detector = Geometry("long", "photon", layers, 0.1, 2.0, incident_range=(1e3, 1e5))
    harmonics = Harmonics(detector, 1, 2)
    assert harmonics.dim == 4
    torch.manual_seed(0)
    shares = torch.full((500, 12, 8, 2), 1 / 16)
    slant = torch.linspace(0.1, 0.9, 12)
    angle, lean = torch.rand(500) * math.tau, torch.rand(500)
    wave = torch.cos(torch.arange(8) * math.tau / 8 - angle[:, None])
    shares *= 1 + (lean[:, None] * slant)[:, :, None, None] * wave[:, None, :, None]
    energies = torch.full((500, 12), 200.0)
    harmonics.add(shares.flatten(1), energies)
    harmonics.finish()
    found = harmonics.moments(shares.flatten(1), energies).unflatten(1, (2, 2))
    torch.testing.assert_close(found.square().mean((0, 2))[0], torch.tensor(1.0))
    assert float(found[:, 1].abs().max()) < 1e-3 * 500**0.5
    turned = torch.view_as_complex(found[:, 0].contiguous())
    expected = lean * torch.exp(1j * angle)
    factor = (turned * expected.conj()).sum() / expected.abs().square().sum()
    assert abs(factor.imag) < 1e-4 * abs(factor.real)
    torch.testing.assert_close(turned, factor * expected, rtol=1e-3, atol=1e-3)


def test_centres_know_radii():
    """Of shares (0, 0.75, 0.25) far out at 0, 1 and 2 quarters, in units of what varies."""
    layers = (Layer(0, (0.0, 4.0, 20.0), 4), Layer(1, RINGS, 2))
    detector = Geometry("far", "photon", layers, 0.1, 2.0, incident_range=(1e3, 1e5))
    harmonics = Harmonics(detector, 1, 4, centres=True)
    assert harmonics.dim == 4
    x = torch.zeros(2, detector.n_voxels)
    x[0, [3, 4]] = torch.tensor([0.75, 0.25])  # 12 mm along y, 2 mm against x
    x[1, 1] = 1.0  # 12 mm along x
    energies = torch.full((2, 2), 200.0)
    harmonics.add(x, energies)
    harmonics.finish()
    dipole, centre = torch.view_as_complex(
        harmonics.moments(x, energies).unflatten(1, (2, 2)).contiguous()
    ).unbind(1)
    for found, values in ((dipole, [0.75j - 0.25, 1.0]), (centre, [9j - 0.5, 12.0])):
        expected = torch.tensor(values, dtype=torch.complex64)
        expected /= (expected.abs().square().mean() / 2).sqrt()  # a coordinate has variance 1
        torch.testing.assert_close(found, expected)


def test_they_turn_with_the_shower():
    head = Multiscale(8, 8, 4, 2, harmonics=2, geometry=DETECTOR,
                      conditions=shares(DETECTOR).conditions)  # fmt: skip
    x, c = share_rows(DETECTOR)
    turned = head.turned(x, torch.full((len(x),), 2))  # a half turn, all that layers have alike
    assert head.n_turns == 4
    before, after = head.moments(x, c), head.moments(turned, c)
    sign = torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(of_layer(after, 1), of_layer(before, 1) * sign)
    torch.testing.assert_close(of_layer(after, 2), -of_layer(before, 2))
    assert float(before.abs().max()) > 0.1


@pytest.mark.parametrize("blur", [0.1, 0.5])
def test_latents_know_them_with_a_noise(blur):
    head = Multiscale(8, 8, 4, 2, harmonics=2, blur=blur, geometry=DETECTOR,
                      conditions=shares(DETECTOR).conditions)  # fmt: skip
    x, c = share_rows(DETECTOR)
    encoder = VAE(2, (8,), x_dim=x.shape[1], c_dim=c.shape[1], head=head)
    posterior = encoder.posterior(x, c)
    moments = slice(2, None)
    torch.testing.assert_close(posterior.mean[:, moments], head.moments(x, c))
    assert posterior.sigma[:, moments].unique().tolist() == [pytest.approx(blur)]
