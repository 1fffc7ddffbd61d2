"""``latents.h5``: what the encoder hands to the density model."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caloman_cli.data.container import open_dataset, open_hdf5, reading
from caloman_cli.data.files import replacing_hdf5
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.trainable import RowSource, iterate

_ACTIVE_VARIANCE = 1e-2  # of a mean, where the prior's variance is 1
_SAME = 1e-12  # variance in units of the largest, below which float32 numbers are the same
_ORIENTATIONS = 8  # of a shower, at most, that the density model learns
_CHUNK_VALUES = 1 << 24  # 64 MiB of float32 for each of a transform's temporaries


@torch.no_grad()
def write_latents(path: Path, encoder: Encoder, source: RowSource, train: np.ndarray) -> None:
    """Encode all rows in file order; latent i belongs to condition i.

    Where the encoder learned showers that were turned, each is encoded in R orientations, evenly
    spaced from one that is its own: else the density model would take the accidental directions
    of N showers for physics. Elsewhere R = 1.

    The file has ``mean`` and ``sigma`` (N, R, D), ``condition`` (N, C), float32, ``row`` (N,), the
    shower's number in the training data, and ``train`` (N,), true in the training split.

    Args:
        path: The file; written whole or not at all.
        encoder: In evaluation mode.
        source: Rows (x, c) of all N showers in file order.
        train: Row numbers of the training split.
    """
    n, rows = len(source), max(1, min(4096, _CHUNK_VALUES // encoder.head.x_dim))
    chosen = np.zeros(n, bool)
    chosen[train] = True
    turns = _turns(encoder.n_turns, n)
    shape = n, turns.shape[1], encoder.latent_dim
    with replacing_hdf5(path) as file:
        file["row"] = np.arange(n)
        file["train"] = chosen
        sets = {name: file.create_dataset(name, shape, "f4") for name in ("mean", "sigma")}
        done = 0
        for x, c in iterate(source, rows):
            here = slice(done, done + len(x))
            for k, turn in enumerate(turns[here].to(x.device).unbind(1)):
                seen = x if encoder.n_turns == 1 else encoder.head.turned(x, turn)
                posterior = encoder.posterior(seen, c)
                for name, dataset in sets.items():
                    dataset[here, k] = getattr(posterior, name).float().cpu().numpy()
            if "condition" not in file:
                file.create_dataset("condition", (n, c.shape[1]), "f4")
            file["condition"][here] = c.float().cpu().numpy()
            done += len(x)


def _turns(n_turns: int, n: int) -> Tensor:
    """Which orientations each of n showers is encoded in, int64 (n, R)."""
    count = min(n_turns, _ORIENTATIONS)
    first = torch.from_numpy(np.random.default_rng(0).integers(n_turns, size=(n, 1)))
    return (first + torch.arange(count) * n_turns // count) % n_turns


class LatentRows:
    """Rows (z (B, D), c (B, C)) of one split.

    Args:
        mean: Posterior means in R orientations, (N, R, D).
        sigma: Posterior widths (N, R, D); None gives means instead of samples.
        condition: (N, C).
        device: Where the rows live.
    """

    def __init__(
        self,
        mean: np.ndarray | Tensor,
        sigma: np.ndarray | Tensor | None,
        condition: np.ndarray | Tensor,
        device: torch.device | str,
    ) -> None:
        self.mean = torch.as_tensor(mean).to(device)
        self.sigma = None if sigma is None else torch.as_tensor(sigma).to(device)
        self.condition = torch.as_tensor(condition).to(device)

    def __len__(self) -> int:
        return len(self.mean)

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        """An orientation and a posterior sample are drawn anew each time, by torch's generator."""
        where, turns = torch.as_tensor(index).to(self.mean.device), self.mean.shape[1]
        turn: Tensor | int = 0
        if turns > 1:
            turn = torch.randint(turns, where.shape, device=where.device)
        z = self.mean[where, turn]
        if self.sigma is not None:
            z = z + self.sigma[where, turn] * torch.randn_like(z)
        return z, self.condition[where]

    def means(self) -> "LatentRows":
        """The same without posterior noise."""
        return LatentRows(self.mean, None, self.condition, self.mean.device)


def read_latents(
    path: Path, latents: str, device: torch.device | str
) -> tuple[LatentRows, LatentRows]:
    """The training and the validation split of ``latents.h5``.

    Args:
        path: The file.
        latents: ``sample`` or ``mean``.
        device: Where the rows live.

    Raises:
        UserError: A latent is NaN or infinite.
    """
    mean, sigma, condition, train = read_datasets(path, "mean", "sigma", "condition", "train")
    if not (np.isfinite(mean).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path} has latents that are NaN or infinite: the encoder has diverged")
    widths = sigma if latents == "sample" and sigma.any() else None
    training, validation = (
        LatentRows(mean[rows], None if widths is None else widths[rows], condition[rows], device)
        for rows in (train, ~train)
    )
    return training, validation


def active_dimensions(path: Path, n_learned: int) -> int:
    """Of the first ``n_learned`` latents those that the encoder uses.

    The variance of their posterior mean exceeds 0.01, or is none of rounding where the encoder
    has no posterior widths and so no unit of its own.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
    """
    mean, sigma = read_datasets(path, "mean", "sigma")
    variance = mean[..., :n_learned].var((0, 1), dtype=np.float64)
    least = _ACTIVE_VARIANCE if sigma.any() else _SAME * np.square(mean, dtype=np.float64).max()
    return int((variance > least).sum())


def read_datasets(path: Path, *names: str) -> list[np.ndarray]:
    """Whole datasets of a file of latents, which has to hold them itself."""
    found = []
    with open_hdf5(path) as file:
        for name in names:
            dataset = open_dataset(file, path, name, kinds="fiub")
            with reading(path, name, dataset):
                values = dataset[()]
            # Files of versions that encoded every shower once.
            old = name in ("mean", "sigma") and values.ndim == 2
            found.append(values[:, None] if old else values)
    return found
