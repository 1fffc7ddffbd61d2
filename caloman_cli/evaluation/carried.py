"""What a run's latents say of real showers: the rows that a ledger is made of."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from caloman_cli.data.showers import Showers, block_rows
from caloman_cli.metrics.ledger import in_use

if TYPE_CHECKING:
    from caloman_cli.models.encoders.base import Encoder
    from caloman_cli.models.two_step import TwoStep

_ROWS = 1024  # showers at once


class Carried(NamedTuple):
    """Of N showers, numpy arrays; the first E of D latents are learned, moments stand behind.

    Args:
        z: Latents as the density learns them, drawn where they are, shape (N, D).
        mean: Their means, shape (N, D).
        c: Conditions, shape (N, C).
        active: Which latents are in use, bool, shape (D,).
        nats: KL of the posterior, shape (N, D); None without a density of it. Of learned latents
            against N(0, 1), of moments, which have no prior, against a normal of their own mean
            and width over showers.
        over: log q(z | x, c) - log p(z | c) with the density's p [nats], shape (N,); None where
            either is not known exactly, or a point's is infinite.
        n_learned: E.
        n_codes: Of how many codes each latent is one; None: real numbers.
        n_shower: How many of the E are the shower's; those of layers stand behind them.
    """

    z: np.ndarray
    mean: np.ndarray
    c: np.ndarray
    active: np.ndarray
    nats: np.ndarray | None
    over: np.ndarray | None
    n_learned: int
    n_codes: int | None
    n_shower: int

    @property
    def active_learned(self) -> int:
        """How many learned latents are in use."""
        return int(self.active[: self.n_learned].sum())

    @property
    def active_shower(self) -> int:
        """How many of these are the shower's."""
        return int(self.active[: self.n_shower].sum())

    @property
    def learned_nats(self) -> np.ndarray | None:
        """KL of the learned latents of each shower, shape (N,)."""
        return None if self.nats is None else self.nats[:, : self.n_learned].sum(1)


def carried(
    model: "TwoStep", showers: Showers, device: torch.device, seed: int, chosen: str = "sample"
) -> Carried:
    """Encode showers as the training does.

    Args:
        model: In evaluation mode, on the device.
        showers: Any with the model's voxels.
        device: Where the model is.
        seed: Of the draws; torch's generators are left as they are.
        chosen: ``sample``: ``z`` is drawn, as a decoder hears it; ``mean``: it is the mean.
    """
    from caloman_cli.models.encoders.base import AVERAGED

    encoder = model.encoder
    rows = min(_ROWS, block_rows(showers.geometry.n_voxels))
    parts: list[tuple[Tensor, ...]] = []
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for energies, voxels in showers.iterate(rows):
            x, c = model.preprocess(
                torch.as_tensor(voxels, dtype=torch.float32, device=device),
                torch.as_tensor(energies, dtype=torch.float32, device=device),
            )
            parts.append((c, *_said(model, x, c)))
    columns = [
        torch.cat(column).float().cpu().numpy() if column[0].numel() else None
        for column in zip(*parts, strict=True)
    ]
    c, z, mean, sigma, nats, over = columns
    assert c is not None
    assert z is not None
    assert mean is not None
    # What is learned and moments have units of their own.
    active = [
        in_use(
            mean[:, part],
            None if sigma is None else sigma[:, part],
            z[:, part] if encoder.only_draws and not part.start else None,
            AVERAGED,
        )
        for part in (slice(0, encoder.n_learned), slice(encoder.n_learned, None))
    ]
    if nats is not None and sigma is not None:
        moments = slice(encoder.n_learned, None)
        nats[:, moments] = _against_their_own(mean[:, moments], sigma[:, moments])
    return Carried(
        z if chosen == "sample" else mean,
        mean,
        c,
        np.concatenate(active),
        nats,
        over,
        encoder.n_learned,
        encoder.latents.n_codes,
        encoder.n_shower,
    )


def as_learned(model: "TwoStep", showers: Showers, device: torch.device) -> Showers:
    """Showers in the orientation in which the model learns them; the same where it has none.

    Latents of a model of canonical showers say nothing of which way a shower really leans: that is
    drawn by itself.
    """
    if model.preprocess.orientation is None:
        return showers
    blocks = []
    for energies, voxels in showers.iterate(block_rows(showers.geometry.n_voxels)):
        rows = (torch.as_tensor(part, dtype=torch.float32, device=device)
                for part in (voxels, energies))  # fmt: skip
        blocks.append(model.preprocess.seen(*rows)[0].cpu().numpy())
    name = f"{showers.name}, canonical"
    return Showers.from_arrays(showers.energies, np.concatenate(blocks), showers.geometry, name)


def _against_their_own(mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """KL of normals of these means and widths (N, M) against those of all rows together [nats]."""
    variance = mean.var(0) + np.square(sigma).mean(0)
    square = np.square(mean - mean.mean(0)) + np.square(sigma)
    return 0.5 * (square / variance - 1 + np.log(variance)) - np.log(sigma)


def _said(model: "TwoStep", x: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """A draw, its mean, width, KL and log q / p; empty where there is none."""
    encoder: Encoder = model.encoder
    nothing = x[:, :0]
    if encoder.only_draws:
        return encoder.draw(x, c), encoder.encode(x, c), nothing, nothing, nothing
    posterior = encoder.posterior(x, c)
    z = posterior.sample()
    nats = posterior.kl() if posterior.has_density else nothing
    over = nothing
    exact = model.density.kind == "exact"
    if exact and (posterior.has_density or encoder.latents.kind == "codes"):
        own = posterior.log_prob(z) if posterior.has_density else z.new_zeros(len(z))
        over = own - model.density.log_prob(z, c)
    return z, posterior.mean, posterior.sigma, nats, over
