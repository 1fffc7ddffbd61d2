"""What callers may give: energies as numbers, arrays or tensors, showers as arrays or files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.hdf5 import check_energies
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError, shown

Where = str | os.PathLike[str]
Given = Where | Showers | np.ndarray | torch.Tensor | tuple[Any, Any]
"""Showers: a file, opened ones, voxels (N, V) MeV, or (voxels, incident energies)."""


def column(energies: Any, name: str = "energies") -> np.ndarray:
    """Incident energies [MeV] as float64, shape (N, 1).

    Args:
        energies: A number, a sequence of them, or an array or a tensor (N,) or (N, 1).
        name: What to call them in messages.

    Raises:
        UserError: They are no numbers, of another shape, or not possible for a particle.
    """
    try:
        values = np.asarray(plain(energies), np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name}={shown(energies)} must be numbers in MeV, e.g. 65536.0"
        ) from error
    if values.ndim > 2 or (values.ndim == 2 and values.shape[1] != 1):
        raise UserError(f"{name} have shape {values.shape}, must be (N,) or (N, 1) in MeV")
    values = values.reshape(-1, 1)
    check_energies(values, name)
    return values


def plain(values: Any) -> Any:
    """A tensor as an array, anything else as it is."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def opened(
    given: Given, name: str, geometry: Geometry | None = None, like: Showers | None = None
) -> Showers:
    """Showers, whatever they were given as.

    Args:
        given: See :data:`Given`.
        name: What to call them in messages.
        geometry: Where the voxels are; not needed where showers are opened already.
        like: Showers whose incident energies voxels without any have, row by row.

    Raises:
        UserError: They are nothing of these, or do not fit.
    """
    if isinstance(given, Showers):
        return given
    if geometry is None:
        raise UserError(f"{name}: say whose voxels these are, dataset=NAME, e.g. dataset='ds2'")
    if isinstance(given, str | os.PathLike):
        return Showers.from_files([Path(given)], geometry)
    voxels, energies = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    voxels = plain(voxels)
    if not isinstance(voxels, np.ndarray) or voxels.ndim != 2 or voxels.dtype.kind != "f":
        raise UserError(
            f"{name} must be a file, Showers, or voxels of shape (N, {geometry.n_voxels}) in MeV "
            f"with or without incident energies, not {shown(type(given).__name__)}"
        )
    if energies is None:
        if like is None:
            raise UserError(f"{name}: give (voxels, energies), the incident energies [MeV] too")
        if len(like) != len(voxels):
            raise UserError(
                f"{name} has {len(voxels)} showers without incident energies, the reference has "
                f"{len(like)}: give (voxels, energies)"
            )
        energies = like.energies
    return Showers.from_arrays(column(energies, f"energies of {name}"), voxels, geometry, name)


def check_whole(name: str, value: Any, least: int | None = None) -> None:
    """Raise a UserError where a setting is no whole number, or too small a one."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or (least is not None and value < least):
        bound = "" if least is None else f" from {least}"
        raise UserError(f"{name}={value!r} must be a whole number{bound}")
