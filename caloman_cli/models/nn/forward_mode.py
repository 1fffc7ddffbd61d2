"""Slopes along a direction, by forward differentiation."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def jvp(
    f: Callable[..., Tensor], at: tuple[Tensor, ...], along: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """``torch.func.jvp`` without a warning of torch's about its own rules.

    Args:
        f: A function of tensors.
        at: Its arguments.
        along: A direction of each, of its shape.

    Returns:
        f there, and its slope along the direction, both of the shape of what f returns.
    """
    with warnings.catch_warnings():
        # torch loads its own forward-mode rules through a function that it deprecates.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        found = torch.func.jvp(f, at, along)
    return found[0], found[1]
