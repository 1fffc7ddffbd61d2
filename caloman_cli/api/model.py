"""A trained model in somebody else's program."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caloman_cli.api.given import check_whole, column, opened
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.data.spectrum import Spectrum, draw_known, warn_foreign
from caloman_cli.errors import UserError
from caloman_cli.models.noise import mix
from caloman_cli.models.two_step import TwoStep
from caloman_cli.runs.device import resolve_device
from caloman_cli.runs.directory import find_model
from caloman_cli.runs.sampling import ENERGIES_STREAM, drawn, loaded

_LIKELIHOOD_ROWS = 64  # as evaluation=likelihood takes them, whose numbers these are


def load_model(run: str | os.PathLike[str], device: str = "auto") -> "Model":
    """Load what ``caloman train`` or ``caloman distill`` made.

    Args:
        run: The run directory, or the ``model.pt`` in it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<index>``.

    Raises:
        UserError: There is no finished model, or no such device.
    """
    if not isinstance(run, str | os.PathLike):
        raise UserError(
            f"load_model takes a run directory or a model.pt, not {type(run).__name__}"
        )
    module, _ = loaded(find_model(Path(run).expanduser()), resolve_device(device))
    return Model(module)


class Model:
    """A trained model: incident energies in, showers out, everything in MeV.

    Args:
        module: The network, in evaluation mode; :attr:`module` afterwards.
    """

    def __init__(self, module: TwoStep) -> None:
        self.module = module

    def __repr__(self) -> str:
        size = self.module.generating_parameters()
        return (
            f"Model({self.geometry.name}: {self.geometry.n_voxels} voxels, {size:,} parameters, "
            f"on {self.device})"
        )

    @property
    def geometry(self) -> Geometry:
        """Where the voxels are."""
        return self.module.geometry

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.module.buffers()).device

    @property
    def spectrum(self) -> Spectrum | None:
        """The incident energies it was trained on [MeV]; None where its file does not say."""
        return self.module.spectrum

    @property
    def kind(self) -> str:
        """What :meth:`log_prob` is, see :data:`caloman_cli.models.kinds.Kind`."""
        return self.module.kind

    @property
    def measure(self) -> str:
        """With respect to what :meth:`log_prob` is a density, in words."""
        return self.module.measure

    def sample(self, energies: Any, seed: int = 1, batch_size: int = 10_000) -> Any:
        """Generate one shower per incident energy; the same ones as ``caloman sample`` writes.

        Args:
            energies: Incident energies [MeV]: a number, a list, or an array or a tensor of shape
                (N,) or (N, 1). N may be 0.
            seed: An integer; equal seeds give equal showers, whatever the batch size.
            batch_size: Showers per step, fewer where voxels are many.

        Returns:
            Voxels [MeV], float32, shape (N, V): a tensor on the energies' device where they are
            a tensor, an array otherwise. Row i has incident energy i.

        Raises:
            UserError: The energies are no positive numbers, or another argument is out of range.
        """
        rows = column(energies)
        check_whole("seed", seed)
        check_whole("batch_size", batch_size, least=1)
        if len(rows):
            warn_foreign(self.module, rows)
        device = energies.device if isinstance(energies, Tensor) else "cpu"
        voxels = torch.empty(len(rows), self.geometry.n_voxels, device=device)
        done = 0
        for _, some in drawn(self.module, rows, seed=seed, batch_size=batch_size):
            voxels[done : done + len(some)] = some
            done += len(some)
        return voxels if isinstance(energies, Tensor) else voxels.numpy()

    def showers(self, n: int, seed: int = 1) -> Showers:
        """Generate n showers with incident energies drawn as those of the training were.

        Args:
            n: How many.
            seed: Of the energies and the showers: those of ``caloman sample n=... seed=...``.

        Raises:
            UserError: A number is out of range, or no spectrum is known.
        """
        check_whole("n", n, least=1)
        check_whole("seed", seed)
        generator = np.random.default_rng(mix(seed, ENERGIES_STREAM))
        energies = draw_known(self.module, generator, n)
        voxels = self.sample(energies, seed)
        return Showers.from_arrays(energies, voxels, self.geometry, f"sample with seed {seed}")

    def log_prob(
        self, showers: Any, energies: Any = None, *, draws: int = 256, seed: int = 1
    ) -> Any:
        """log p(shower | incident energy) [nats], of the kind and measure that the model says.

        Args:
            showers: :class:`Showers`, a file, or voxels [MeV] of shape (N, V).
            energies: Incident energies [MeV] of voxels, (N,) or (N, 1).
            draws: Of latents for each shower, where the posterior has a density.
            seed: Of these draws.

        Returns:
            Shape (N,), float64: a tensor on the voxels' device where they are a tensor, an array
            otherwise. Infinite where a shower lies where the model has no volume.

        Raises:
            UserError: The showers do not fit the model, or it has no density.
        """
        check_whole("draws", draws, least=1)
        check_whole("seed", seed)
        if energies is not None:
            showers = (showers, energies)
        given = opened(showers, "showers", self.geometry)
        if given.geometry.n_voxels != self.geometry.n_voxels:
            raise UserError(
                f"the showers have {given.geometry.n_voxels} voxels ({given.geometry.name}), the "
                f"model {self.geometry.n_voxels} ({self.geometry.name})"
            )
        parts = [part.cpu() for part in self._log_probs(given, draws, seed)]
        found = torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)
        voxels = showers[0] if isinstance(showers, tuple) else showers
        return found.to(voxels.device) if isinstance(voxels, Tensor) else found.numpy()

    def _log_probs(self, showers: Showers, draws: int, seed: int) -> Iterator[Tensor]:
        with torch.no_grad():
            for number, (energies, voxels) in enumerate(showers.iterate(_LIKELIHOOD_ROWS)):
                rows, e_inc = (
                    torch.as_tensor(part, dtype=torch.float32, device=self.device)
                    for part in (voxels, energies)
                )
                try:
                    yield self.module.log_prob(rows, e_inc, draws, seed + number)
                except FloatingPointError as error:
                    raise UserError(str(error)) from error
