"""Operations that ONNX does not know, in terms of those that it does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from caloman_cli.models.nn.flows import ConditionalFlow, LULinear
from caloman_cli.models.nn.scaler import Scaler

_aten = torch.ops.aten


def lowered(program: ExportedProgram) -> ExportedProgram:
    """The same program without operations in place and without those of :data:`RULES`."""
    return program.run_decompositions(RULES)


@contextmanager
def settled(module: nn.Module) -> Iterator[None]:
    """What follows from weights and buffers alone as numbers: inverse matrices of flows, which
    ONNX lacks, and how many latents are active, which a graph cannot ask."""
    found: list[tuple[nn.Module, str, Any]] = []
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, ConditionalFlow):
                found.append((part, "_way_back", part._way_back()))
            elif isinstance(part, LULinear):
                found.append((part, "weight_inverse", part.weight_inverse().detach()))
    scalers = [part for part in module.modules() if isinstance(part, Scaler)]
    for scaler in scalers:
        scaler.settled = scaler.n_active
    for part, name, value in found:
        setattr(part, name, partial(_same, value))
    try:
        yield
    finally:
        for part, name, _ in found:
            delattr(part, name)
        for scaler in scalers:
            del scaler.settled


def _same(value: Any) -> Any:
    return value


def _clamp(x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    # ONNX wants both bounds of the tensor's type.
    if not x.is_floating_point() or not any(isinstance(bound, int) for bound in (low, high)):
        return NotImplemented
    return torch.clamp(x, *(None if b is None else float(b) for b in (low, high)))


def _searchsorted(
    edges: Tensor, values: Tensor, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    if edges.dim() > 1 or sorter is not None:
        return NotImplemented
    below = (
        edges <= values.unsqueeze(-1) if right or side == "right" else edges < values.unsqueeze(-1)
    )
    return below.sum(-1)


def _hypot(a: Tensor, b: Tensor) -> Tensor:
    return (a.square() + b.square()).sqrt()


def _frac(x: Tensor) -> Tensor:
    return x - x.trunc()


def _copysign(size: Tensor, sign: Tensor) -> Tensor:
    # -0 counts as +0; no difference of two numbers is -0.
    return torch.where(sign < 0, -size.abs(), size.abs())


def _softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    # ONNX Runtime has that of float32 alone.
    if x.dtype != torch.float64 or beta != 1:
        return NotImplemented
    return x.clamp(min=0.0) + torch.log1p(torch.exp(-x.abs()))


RULES: dict[Any, Callable[..., Tensor]] = {
    _aten.clamp.default: _clamp,
    _aten.searchsorted.Tensor: _searchsorted,
    _aten.hypot.default: _hypot,
    _aten.frac.default: _frac,
    _aten.copysign.Tensor: _copysign,
    _aten.softplus.default: _softplus,
}
