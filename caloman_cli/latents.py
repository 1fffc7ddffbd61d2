"""``latents.h5``: what the encoder hands to the density model."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from caloman_cli.encoders.base import Encoder
from caloman_cli.errors import UserError
from caloman_cli.storage import replacing
from caloman_cli.trainable import RowSource, iterate

_ACTIVE_VARIANCE = 1e-2
_CHUNK_VALUES = 1 << 24  # 64 MiB of float32 for each of a transform's temporaries


@torch.no_grad()
def write_latents(path: Path, encoder: Encoder, source: RowSource, train: np.ndarray) -> None:
    """Encode all rows in file order; latent i belongs to condition i.

    The file has ``mean`` and ``sigma`` (N, D), ``condition`` (N, C), float32, ``row`` (N,), the
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
    with replacing(path) as part, h5py.File(part, "w", locking=False) as file:
        file["row"] = np.arange(n)
        file["train"] = chosen
        done = 0
        for x, c in iterate(source, rows):
            mean, sigma = encoder.posterior(x, c)
            for name, values in (("mean", mean), ("sigma", sigma), ("condition", c)):
                if name not in file:
                    file.create_dataset(name, (n, values.shape[1]), "f4")
                file[name][done : done + len(values)] = values.float().cpu().numpy()
            done += len(x)


class LatentRows:
    """Rows (z (B, D), c (B, C)) of one split.

    Args:
        mean: Posterior means (N, D).
        sigma: Posterior widths (N, D); None gives means instead of samples.
        condition: (N, C).
        device: Where the rows live.
    """

    def __init__(
        self,
        mean: np.ndarray,
        sigma: np.ndarray | None,
        condition: np.ndarray,
        device: torch.device | str,
    ) -> None:
        self.mean = torch.as_tensor(mean).to(device)
        self.sigma = None if sigma is None else torch.as_tensor(sigma).to(device)
        self.condition = torch.as_tensor(condition).to(device)

    def __len__(self) -> int:
        return len(self.mean)

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        """A posterior sample is drawn anew each time, from torch's generator."""
        where = torch.as_tensor(index).to(self.mean.device)
        z = self.mean[where]
        if self.sigma is not None:
            z = z + self.sigma[where] * torch.randn_like(z)
        return z, self.condition[where]


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
    with h5py.File(path, "r") as file:
        mean, sigma, condition = (file[name][:] for name in ("mean", "sigma", "condition"))
        train = file["train"][:]
    if not (np.isfinite(mean).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path} has latents that are NaN or infinite: the encoder has diverged")
    widths = sigma if latents == "sample" and sigma.any() else None
    training, validation = (
        LatentRows(mean[rows], None if widths is None else widths[rows], condition[rows], device)
        for rows in (train, ~train)
    )
    return training, validation


def active_dimensions(path: Path) -> int:
    """Latents that the encoder uses: the variance of their posterior mean exceeds 0.01.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
    """
    with h5py.File(path, "r") as file:
        return int((file["mean"][:].var(0) > _ACTIVE_VARIANCE).sum())
