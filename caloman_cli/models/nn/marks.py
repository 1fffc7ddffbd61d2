"""Ones and zeros as numbers: choices among booleans take several times as long on a CPU."""

from collections.abc import Callable

import torch
from torch import Tensor


def mark(compare: Callable[..., Tensor], a: Tensor, b: Tensor | float) -> Tensor:
    """1 where ``compare(a, b)``, else 0, of a's dtype; for drawing: no gradient, no vmap.

    Args:
        compare: ``torch.lt`` or one like it.
        a, b: What is compared; shapes broadcast.
    """
    if torch.compiler.is_compiling():
        return compare(a, b).to(a)
    return compare(a, b, out=a.new_empty(0))


def choose(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """``yes`` where ``which`` is 1, ``no`` where it is 0, exactly; both must be finite."""
    return no.lerp(yes, which)
