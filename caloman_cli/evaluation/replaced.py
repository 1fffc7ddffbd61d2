"""Showers of a run whose latents are replaced, with all other random numbers as they were."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from caloman_cli.data.memory import values_at_once
from caloman_cli.data.showers import Showers

if TYPE_CHECKING:
    from caloman_cli.models.noise import Noise
    from caloman_cli.models.two_step import TwoStep

Way = Literal["independent", "mean"]
_STREAM = 0x6C656467  # keeps what replaces latents apart from the model's noise
_MEASURED = 20_000  # latents that tell means and widths
_STEP_VALUES = 1 << 26  # 256 MiB of float32 for each temporary of a step


class Replacement:
    """What stands in the place of the second step's latents.

    Args:
        model: In evaluation mode, on its device.
        energies: Incident energies [MeV] whose latents are measured, shape (N, 1).
        seed: The sample's.

    Attributes:
        pool: Latents that the second step draws, shape (M, D).
    """

    def __init__(self, model: "TwoStep", energies: np.ndarray, seed: int) -> None:
        self.model, self.seed = model, seed
        n = min(len(energies), _MEASURED)
        index = np.arange(n) * len(energies) // n
        self.pool = torch.cat([
            _second_step(model, energies[rows], noise)
            for rows, noise in _batches(model, index, seed)
        ])  # fmt: skip

    def typical(self) -> Tensor:
        """The mean of each latent, or the code that is drawn most often, shape (D,)."""
        if self.model.encoder.latents.kind == "codes":
            return self.pool.mode(0).values
        return self.pool.mean(0)

    def independent(self, noise: "Noise") -> Tensor:
        """Normals of each latent's mean and width, codes as often as they are drawn; all of them
        independent of each other and of the energies, shape (B, D)."""
        dim = self.pool.shape[1]
        if self.model.encoder.latents.kind == "codes":
            n = len(self.pool)
            chosen = (noise.uniform(dim) * n).long().clamp(max=n - 1)
            return self.pool.gather(0, chosen)
        normal = noise.normal(dim).to(self.pool)
        return self.pool.mean(0) + self.pool.std(0, correction=0) * normal

    def showers(self, way: Way, reference: Showers, index: np.ndarray) -> Showers:
        """The showers that the model draws for some rows, with latents replaced.

        Args:
            way: ``independent`` or ``mean``.
            reference: Whose incident energies they have.
            index: Rising row numbers: row i has the random numbers of row i of the whole sample.

        Returns:
            In memory, in the order of the rows.
        """
        from caloman_cli.models.noise import mix

        found = []
        others = _batches(self.model, index, mix(self.seed, _STREAM))
        for (rows, noise), (_, own) in zip(
            _batches(self.model, index, self.seed), others, strict=True
        ):
            new = self.typical().expand(len(rows), -1) if way == "mean" else self.independent(own)
            e_inc = _tensor(self.model, reference.energies[rows])
            found.append(self.model.sample(e_inc, noise, partial(_other, new)).cpu().numpy())
        return Showers.from_arrays(
            reference.energies[index], np.concatenate(found), reference.geometry, way
        )


def _batches(
    model: "TwoStep", index: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, "Noise"]]:
    """Parts of the rows, each with its random numbers."""
    from caloman_cli.models.noise import Noise

    device = next(model.buffers()).device
    step = max(1, min(10_000, values_at_once(device, _STEP_VALUES) // model.geometry.n_voxels))
    for start in range(0, len(index), step):
        rows = index[start : start + step]
        first = int(rows[0])
        whole = Noise(seed, first, int(rows[-1]) - first + 1, device)
        yield rows, whole.rows(torch.from_numpy(rows - first))


def _other(new: Tensor, z: Tensor) -> Tensor:
    return new


@torch.inference_mode()
def _second_step(model: "TwoStep", energies: np.ndarray, noise: "Noise") -> Tensor:
    """The latents that it draws, shape (B, D)."""
    from caloman_cli.models.preprocess.base import Context

    e_inc = _tensor(model, energies)
    context = Context(e_inc, model.energy.sample(e_inc, noise))
    return model.density.sample(model.preprocess.condition(context), noise)


def _tensor(model: "TwoStep", energies: np.ndarray) -> Tensor:
    return torch.as_tensor(energies, dtype=torch.float32, device=next(model.buffers()).device)
