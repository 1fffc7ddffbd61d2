"""``latents.h5``: what the encoder hands to the density model."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caloman_cli.data.container import open_dataset, open_hdf5, reading
from caloman_cli.data.files import replacing_hdf5
from caloman_cli.errors import UserError
from caloman_cli.metrics.ledger import in_use
from caloman_cli.models.encoders.base import AVERAGED, Encoder
from caloman_cli.models.trainable import RowSource, iterate

_ORIENTATIONS = 8  # of a shower, at most, that the density model learns
_DRAWS = 16  # of a shower, where latents can only be drawn
_CHUNK_VALUES = 1 << 24  # 64 MiB of float32 for each of a transform's temporaries


@torch.no_grad()
def write_latents(
    path: Path, encoder: Encoder, source: RowSource, train: np.ndarray, seed: int = 0
) -> None:
    """Encode all rows in file order; latent i belongs to condition i.

    Where the encoder learned showers that were turned, each is encoded in R orientations, evenly
    spaced from one that is its own: else the density model would take the accidental directions
    of N showers for physics. An encoder that can only draw draws R times. Elsewhere R = 1.

    The file has ``mean`` (N, R, D), ``condition`` (N, C), float32, ``row`` (N,), the shower's
    number in the training data, and ``train`` (N,), true in the training split. Beside the mean
    stands ``sigma`` (N, R, D), from which latents are drawn anew whenever they are asked for, or,
    of an encoder that can only draw, what it drew: ``draw`` (N, R, D).

    Args:
        path: The file; written whole or not at all.
        encoder: In evaluation mode.
        source: Rows (x, c) of all N showers in file order.
        train: Row numbers of the training split.
        seed: Of what an encoder draws here.
    """
    n, rows = len(source), max(1, min(4096, _CHUNK_VALUES // encoder.head.x_dim))
    chosen = np.zeros(n, bool)
    chosen[train] = True
    count = _DRAWS if encoder.only_draws else min(encoder.n_turns, _ORIENTATIONS)
    turns = _turns(encoder.n_turns, n, count)
    shape = n, turns.shape[1], encoder.latent_dim
    names = ("mean", "draw" if encoder.only_draws else "sigma")
    torch.manual_seed(seed)
    with replacing_hdf5(path) as file:
        file["row"] = np.arange(n)
        file["train"] = chosen
        sets = [file.create_dataset(name, shape, "f4") for name in names]
        done = 0
        for x, c in iterate(source, rows):
            here = slice(done, done + len(x))
            for k, turn in enumerate(turns[here].to(x.device).unbind(1)):
                seen = x if encoder.n_turns == 1 else encoder.head.turned(x, turn)
                for dataset, values in zip(sets, _said(encoder, seen, c), strict=True):
                    dataset[here, k] = values.float().cpu().numpy()
            if "condition" not in file:
                file.create_dataset("condition", (n, c.shape[1]), "f4")
            file["condition"][here] = c.float().cpu().numpy()
            done += len(x)


def _said(encoder: Encoder, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the latents, and their widths or, where these have no name, a draw."""
    if encoder.only_draws:
        return encoder.encode(x, c), encoder.draw(x, c)
    posterior = encoder.posterior(x, c)
    return posterior.mean, posterior.sigma


def _turns(n_turns: int, n: int, count: int) -> Tensor:
    """Which orientations each of n showers is encoded in, int64 (n, R)."""
    first = torch.from_numpy(np.random.default_rng(0).integers(n_turns, size=(n, 1)))
    return (first + torch.arange(count) * n_turns // count) % n_turns


class LatentRows:
    """Rows (z (B, D), c (B, C)) of one split.

    Args:
        mean: Means of latents, R times for each shower, (N, R, D).
        sigma: Their widths (N, R, D), around which they are normal; None: no width is known.
        condition: (N, C).
        device: Where the rows live.
        drawn: Draws (N, R, D) to choose from; None: samples are made of mean and width.
    """

    def __init__(
        self,
        mean: np.ndarray | Tensor,
        sigma: np.ndarray | Tensor | None,
        condition: np.ndarray | Tensor,
        device: torch.device | str,
        drawn: np.ndarray | Tensor | None = None,
    ) -> None:
        self.mean = torch.as_tensor(mean).to(device)
        self.sigma = None if sigma is None else torch.as_tensor(sigma).to(device)
        self.drawn = None if drawn is None else torch.as_tensor(drawn).to(device)
        self.condition = torch.as_tensor(condition).to(device)

    def __len__(self) -> int:
        return len(self.mean)

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        """One of the R, and a sample, are drawn anew each time, by torch's generator."""
        where, turns = torch.as_tensor(index).to(self.mean.device), self.mean.shape[1]
        turn: Tensor | int = 0
        if turns > 1:
            turn = torch.randint(turns, where.shape, device=where.device)
        z = (self.mean if self.drawn is None else self.drawn)[where, turn]
        if self.sigma is not None:
            z = z + self.sigma[where, turn] * torch.randn_like(z)
        return z, self.condition[where]

    def means(self) -> "LatentRows":
        """The same without what is drawn."""
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
    mean, condition, train = read_datasets(path, "mean", "condition", "train")
    name, beside = _beside_means(path)
    if not (np.isfinite(mean).all() and np.isfinite(beside).all()):
        raise UserError(f"{path} has latents that are NaN or infinite: the encoder has diverged")
    wanted = latents == "sample"
    sigma = beside if wanted and name == "sigma" and beside.any() else None
    drawn = beside if wanted and name == "draw" else None

    def split(rows: np.ndarray) -> LatentRows:
        parts = [None if values is None else values[rows] for values in (sigma, drawn)]
        return LatentRows(mean[rows], parts[0], condition[rows], device, parts[1])

    training, validation = (split(rows) for rows in (train, ~train))
    return training, validation


def active_dimensions(path: Path, n_learned: int) -> int:
    """How many of the first ``n_learned`` latents the encoder uses, see :func:`in_use`."""
    mean = read_datasets(path, "mean")[0][..., :n_learned]
    name, beside = _beside_means(path)
    beside = beside[..., :n_learned]
    if name == "draw":
        return int(in_use(mean, drawn=beside, averaged=AVERAGED).sum())
    return int(in_use(mean, beside).sum())


def _beside_means(path: Path) -> tuple[str, np.ndarray]:
    """What :func:`write_latents` says of latents beside their means, and its name."""
    with open_hdf5(path) as file:
        name = "draw" if "draw" in file else "sigma"
    return name, read_datasets(path, name)[0]


def read_datasets(path: Path, *names: str) -> list[np.ndarray]:
    """Whole datasets of a file of latents, which has to hold them itself."""
    found = []
    with open_hdf5(path) as file:
        for name in names:
            dataset = open_dataset(file, path, name, kinds="fiub")
            with reading(path, name, dataset):
                values = dataset[()]
            # Files of versions that encoded every shower once.
            old = name in ("mean", "sigma", "draw") and values.ndim == 2
            found.append(values[:, None] if old else values)
    return found
