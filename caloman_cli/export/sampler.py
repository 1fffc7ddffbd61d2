"""What is exported: modules from incident energies and noise to voxels, with named inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from caloman_cli.errors import UserError
from caloman_cli.export.noise import Counted, Given, Seeded, Untraceable
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import TwoStep

NoiseKind = Literal["inside", "input"]
"""Whether a graph draws its noise itself, from a seed, or is given it."""


@dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Args:
        name: What it is called in the file.
        dtype: ``float32`` or ``int64``.
        shape: Sizes; ``"batch"`` is the number of showers.
        unit: ``MeV``, ``GeV`` or what it is.
        what: One line.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str
    what: str


@dataclass(frozen=True)
class Numbers:
    """How many random numbers a shower takes.

    Args:
        uniforms: In (0, 1).
        normals: Standard normal.
    """

    uniforms: int
    normals: int


class Sampler(nn.Module):
    """A model behind named inputs; a subclass says which.

    Args:
        model: The model, in evaluation mode.
    """

    def __init__(self, model: TwoStep) -> None:
        super().__init__()
        self.model = model

    @property
    def inputs(self) -> tuple[Port, ...]:
        raise NotImplementedError

    @property
    def output(self) -> Port:
        n = self.model.geometry.n_voxels
        what = "deposited energies, row i of incident energy i; order: voxel_order"
        return Port("voxels", "float32", ("batch", n), "MeV", what)

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (self.output,)

    def example(self, energies: Tensor, seed: int) -> dict[str, Tensor]:
        """Inputs for incident energies (B, 1) MeV."""
        raise NotImplementedError

    def part(self, inputs: Mapping[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
        """The inputs of some of the rows."""
        return {name: value[start:stop] for name, value in inputs.items()}

    def expected(self, inputs: Mapping[str, Tensor], outputs: Sequence[Tensor]) -> Tensor:
        """What torch makes of the inputs of a run, given what it drew itself."""
        return run(self, inputs)

    def _energies(self) -> Port:
        return Port("energies", "float32", ("batch", 1), "MeV", "incident energies")


class SeededSampler(Sampler):
    """Noise is drawn inside: showers are those of ``caloman sample`` with this seed."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            self._energies(),
            Port("seed", "int64", (1,), "", "equal seeds give equal showers"),
            Port("first", "int64", (1,), "", "number of the first row: rows of a sample go on"),
        )

    def example(self, energies: Tensor, seed: int) -> dict[str, Tensor]:
        return {
            "energies": energies,
            "seed": torch.tensor([seed]),
            "first": torch.tensor([0]),
        }

    def part(self, inputs: Mapping[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
        energies, first = inputs["energies"][start:stop], inputs["first"] + start
        return {"energies": energies, "seed": inputs["seed"], "first": first}

    def forward(self, energies: Tensor, seed: Tensor, first: Tensor) -> Tensor:
        return self.model.sample(energies, Seeded(seed, first, energies.shape[0]))


class GivenSampler(Sampler):
    """Noise is an input, so that the caller's own generator draws it.

    Args:
        model: The model, in evaluation mode.
        numbers: See :func:`counted`.
    """

    def __init__(self, model: TwoStep, numbers: Numbers) -> None:
        super().__init__(model)
        self.numbers = numbers

    @property
    def inputs(self) -> tuple[Port, ...]:
        sizes = (("uniform", self.numbers.uniforms), ("normal", self.numbers.normals))
        what = {"uniform": "independent, uniform in (0, 1), never 0 or 1",
                "normal": "independent, standard normal"}  # fmt: skip
        found = (Port(name, "float32", ("batch", n), "", what[name]) for name, n in sizes if n)
        return (self._energies(), *found)

    def example(self, energies: Tensor, seed: int) -> dict[str, Tensor]:
        noise, n = Noise(seed, 0, len(energies)), self.numbers
        # Both are drawn, whether a shower takes any or not: the numbers stay what they were.
        uniform, normal = noise.uniform(max(1, n.uniforms)), noise.normal(max(1, n.normals))
        drawn = {"uniform": uniform, "normal": normal}
        names = {port.name for port in self.inputs}
        return {"energies": energies} | {k: v for k, v in drawn.items() if k in names}

    def forward(
        self, energies: Tensor, uniform: Tensor | None = None, normal: Tensor | None = None
    ) -> Tensor:
        return self.model.sample(energies, Given(uniform, normal))


def counted(model: TwoStep) -> Numbers:
    """How many random numbers a shower of the model takes.

    Raises:
        UserError: It draws for some rows only.
    """
    low = 1e3 if model.spectrum is None else model.spectrum.energies[0]
    noise = Counted(Noise(1, 0, 2))
    try:
        model.sample(torch.full((2, 1), float(low)), noise)
    except Untraceable as error:
        raise UserError(f"the model cannot be exported: {error}") from error
    return Numbers(noise.uniforms, noise.normals)


def sampler(model: TwoStep, noise: NoiseKind) -> Sampler:
    """The module to export with its own inputs.

    Raises:
        UserError: See :func:`counted`.
    """
    return SeededSampler(model) if noise == "inside" else GivenSampler(model, counted(model))


def run(module: Sampler, inputs: Mapping[str, Tensor]) -> Tensor:
    """The module's output, as torch computes it without a graph."""
    with torch.inference_mode():
        found: Tensor = module(**inputs)
    return found
