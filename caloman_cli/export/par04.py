"""Files as Geant4's example Par04 reads them, unmodified: one input, a shower at a time.

What is here follows ``Par04InferenceSetup`` and ``Par04OnnxInference`` of Geant4 11.4: its model
types ``CaloDiT-2`` and ``VAE``, the mesh of 9 rings, 16 slices and 45 layers of 3.4 mm, and voxels
in the order r, phi, z with z fastest.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.export.noise import Seeded, seed_of
from caloman_cli.export.sampler import NoiseKind, Port, Sampler
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import TwoStep

_MESH, _RING = (45, 16, 9), 4.65  # layers, slices, rings [mm]
_ROUNDING = 1e-3  # mm
_GEV = 1e3
_LARGEST = 1.024e6  # MeV: what Par04 divides incident energies by
SEEDS = 4
"""Normal numbers of Geant4's generator that make a seed: ``setSizeLatentVector``."""


class _Par04(Sampler):
    """One shower, in the order r, phi, z."""

    def _ordered(self, voxels: Tensor) -> Tensor:
        return voxels.view(1, *_MESH).permute(0, 3, 2, 1).reshape(1, -1)

    def _shower(self, energies: Tensor, seed: Tensor) -> Tensor:
        return self._ordered(self.model.sample(energies, Seeded(seed, torch.zeros_like(seed), 1)))

    @property
    def output(self) -> Port:
        what = "deposited energies, order r, phi, z with z fastest"
        return Port("energies", "float32", (1, math.prod(_MESH)), self.unit, what)

    unit = "GeV"


class CaloDiT(_Par04):
    """``setModelType CaloDiT-2``: the file draws a seed itself, and says which."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        what = (
            "incident energy [GeV], phi, theta, five numbers of the detector; all but the first "
            "are ignored"
        )
        return (Port("condition", "float32", (1, 8), "GeV", what),)

    @property
    def outputs(self) -> tuple[Port, ...]:
        return self.output, Port("seed", "int64", (1,), "", "what the file drew")

    def example(self, energies: Tensor, seed: int) -> dict[str, Tensor]:
        others = torch.zeros(1, 7)
        return {"condition": torch.cat([energies[:1] / _GEV, others], 1)}

    def expected(self, inputs: Mapping[str, Tensor], outputs: Sequence[Tensor]) -> Tensor:
        energies = inputs["condition"][:, :1] * _GEV
        noise = Noise(int(outputs[1]), 0, 1)
        return self._ordered(self.model.sample(energies, noise)) / _GEV

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        seed = seed_of(torch.rand(1, SEEDS))
        return self._shower(condition[:, :1] * _GEV, seed) / _GEV, seed


class VAE(_Par04):
    """``setModelType VAE``: four normal numbers of Geant4's generator are the seed."""

    unit = "E_inc"

    @property
    def inputs(self) -> tuple[Port, ...]:
        what = (
            f"{SEEDS} standard normal numbers (the seed), incident energy / 1.024 TeV, theta / 90 "
            "degrees, 0, 1; the last three are ignored"
        )
        return (Port("latent_and_condition", "float32", (1, SEEDS + 4), "", what),)

    def example(self, energies: Tensor, seed: int) -> dict[str, Tensor]:
        latent = Noise(seed, 0, 1).normal(SEEDS)
        others = torch.tensor([[0.0, 0.0, 1.0]])
        return {"latent_and_condition": torch.cat([latent, energies[:1] / _LARGEST, others], 1)}

    def expected(self, inputs: Mapping[str, Tensor], outputs: Sequence[Tensor]) -> Tensor:
        (given,) = inputs.values()
        energies = given[:, SEEDS : SEEDS + 1] * _LARGEST
        noise = Noise(int(_seed_of_normals(given[:, :SEEDS])), 0, 1)
        return self._ordered(self.model.sample(energies, noise)) / energies

    def forward(self, latent_and_condition: Tensor) -> Tensor:
        energies = latent_and_condition[:, SEEDS : SEEDS + 1] * _LARGEST
        seed = _seed_of_normals(latent_and_condition[:, :SEEDS])
        return self._shower(energies, seed) / energies


def _seed_of_normals(numbers: Tensor) -> Tensor:
    return seed_of(0.5 + 0.5 * torch.erf(numbers * math.sqrt(0.5)))


def par04(model: TwoStep, noise: NoiseKind) -> Sampler:
    """The module to export for Par04.

    Args:
        model: The model.
        noise: ``inside`` for ``CaloDiT-2``, ``input`` for ``VAE``.

    Raises:
        UserError: The detector has another mesh.
    """
    if not fits(model.geometry):
        shape, has = model.geometry.image_shape, "layers of different shapes"
        if shape is not None:
            has = f"{shape[0]} layers of {shape[1]} slices and {shape[2]} rings"
        raise UserError(
            f"target=par04 needs the mesh of dataset 2, 45 layers of 16 slices and 9 rings of "
            f"{_RING} mm, {model.geometry.name} has {has}: give target=plain"
        )
    return CaloDiT(model) if noise == "inside" else VAE(model)


def fits(geometry: Geometry) -> bool:
    """Whether a detector's mesh is the one that Par04 has for fast simulation."""
    edges = [_RING * i for i in range(_MESH[2] + 1)]
    return geometry.image_shape == _MESH and all(
        abs(a - b) < _ROUNDING
        for layer in geometry.layers
        for a, b in zip(layer.r_edges, edges, strict=True)
    )
