"""Showers as the latents that a run's density learned, for metrics that ask the density."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from caloman_cli.config.options import known_options, option_of
from caloman_cli.data.showers import Showers, block_rows
from caloman_cli.errors import UserError
from caloman_cli.metrics.lid import TakesNoiseOff

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

_ROWS = 1024  # showers at once


class Encoded(NamedTuple):
    """N showers in the space of a density.

    Args:
        u: Scaled latents of the A dimensions that are learned, shape (N, A).
        c: What the density's networks are told, shape (N, C).
    """

    u: Tensor
    c: Tensor


def denoiser_of(model: "TwoStep", metric: str) -> TakesNoiseOff:
    """The model's density, which takes noise off latents.

    Args:
        model: Any.
        metric: Who asks.

    Raises:
        UserError: It does not; names the densities that do.
    """
    from caloman_cli.models.densities.denoiser import Denoiser

    if not isinstance(model.density, Denoiser):
        raise UserError(
            f"{metric} asks a density that takes noise off latents, this run's "
            f"density={option_of('density', model.density)} does not: train with density="
            f"{' or density='.join(denoisers())}"
        )
    return model.density


def denoisers() -> list[str]:
    """The options of ``density`` that take noise off latents."""
    from caloman_cli.models import densities
    from caloman_cli.models.densities.denoiser import Denoiser

    options = known_options("density").items()
    return [option for option, name in options if issubclass(getattr(densities, name), Denoiser)]


def encoded(
    model: "TwoStep", showers: Showers, device: torch.device, seed: int, means: bool = False
) -> Encoded:
    """What the density would have learned of showers: latents drawn from their posteriors.

    Args:
        model: In evaluation mode, on the device.
        showers: Any with the model's voxels.
        device: Where the model is.
        seed: Of the draws; torch's generators are left as they are.
        means: Take their means instead: equal showers have equal ones.
    """
    encode = model.encoder.encode if means else model.encoder.draw
    rows = min(_ROWS, block_rows(showers.geometry.n_voxels))
    parts = []
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for energies, voxels in showers.iterate(rows):
            x, c = model.preprocess(
                torch.as_tensor(voxels, dtype=torch.float32, device=device),
                torch.as_tensor(energies, dtype=torch.float32, device=device),
            )
            u, _ = model.density.scaler(encode(x, c))
            parts.append((u, model.density.told(c)))
    return Encoded(*(torch.cat(column) for column in zip(*parts, strict=True)))
