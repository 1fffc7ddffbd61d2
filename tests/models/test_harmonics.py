"""Harmonics in alpha that latents hold of layers."""

import cmath
import math

import pytest
import torch

from caloman_cli.data.geometry import Geometry, Layer
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
    pairs = {1: slice(0, 4), 2: slice(4, 6)}[number]
    return torch.view_as_complex(values[:, pairs].unflatten(1, (-1, 2)).contiguous())


def test_a_lit_slice_has_its_angle():
    """Of as many slices as a harmonic needs: four have a dipole, two or one have nothing."""
    harmonics = Harmonics(DETECTOR, 2)
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
