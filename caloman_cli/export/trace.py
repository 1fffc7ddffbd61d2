"""A model's sampling as one graph without branches, traced once."""

import builtins
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from caloman_cli.config.options import option_of
from caloman_cli.errors import UserError, reason
from caloman_cli.export.lowering import lowered, settled
from caloman_cli.export.noise import Untraceable
from caloman_cli.export.sampler import Sampler
from caloman_cli.export.translate import quiet

_TRACED = 13  # rows: not 1, which torch treats apart
_BROKEN = (
    Untraceable, ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
_FILE = re.compile(r"([\w/.-]+\.py)")
_ROOMS = {
    "head": "heads",
    "density": "densities",
    "encoder": "encoders",
    "energy": "energies",
    "calibration": "calibrations",
}
_INSTEAD = {
    "head": "the heads of the second edition can be (experiment=flagship_*, head=multiscale)",
    "density": "density=nsf, nsf_wide, flow_matching or mean_flow can be",
}


def traced(module: Sampler, energies: Tensor, batch: int | None) -> ExportedProgram:
    """Trace a module.

    Args:
        module: In evaluation mode.
        energies: Incident energies to trace with [MeV], shape (B, 1), B at least 3.
        batch: The number of rows of the graph; None leaves it open.

    Raises:
        UserError: It cannot be traced, which says what is in the way.
    """
    density = module.model.density
    if density.needs_grad or density.noising == "tweedie":
        raise UserError(
            f"density={option_of('density', density)} cannot be exported: it draws by gradients, "
            f"which no graph has; {_INSTEAD['density']}"
        )
    n = _TRACED if batch is None else batch
    inputs = module.example(energies[:1].expand(n, 1).contiguous(), seed=1)
    ports = {port.name: port for port in module.inputs}
    shapes = {
        name: {0: Dim.DYNAMIC} if batch is None and ports[name].shape[0] == "batch" else None
        for name in inputs
    }
    try:
        with quiet(), _lengths_as_shapes(), torch.no_grad(), settled(module):
            program = torch.export.export(
                module, (), dict(inputs), dynamic_shapes=shapes, strict=False
            )
            return lowered(program)
    except _BROKEN as error:
        raise UserError(_refusal(module, error, batch)) from error


def _refusal(module: Sampler, error: BaseException, batch: int | None) -> str:
    """What is in the way, in one line."""
    part, option = _culprit(module, error)
    text = " ".join(str(error).split())
    if "specialized it to be a constant" in text or "Constraints violated" in text:
        return (
            "the number of showers of a call cannot be left open for this model: give "
            "batch_sizes=[1,100], a file for each"
        )
    if isinstance(error, Untraceable):
        why = str(error)
    elif "data-dependent" in text or "Dynamic shape" in text or "unbacked" in text:
        why = "its shapes or steps depend on values"
    else:
        why = f"torch cannot trace it ({reason(error)})"
    instead = _INSTEAD.get(part, "give a run with another one")
    return f"{option} cannot be exported: {why}; {instead}"


def _culprit(module: Sampler, error: BaseException) -> tuple[str, str]:
    """The group and ``group=option`` of the part of the model that an error came from."""
    parts = {"head": module.model.encoder.head} | {
        name: getattr(module.model, name)
        for name in ("energy", "encoder", "density", "calibration")
    }
    frames = traceback.extract_tb(error.__traceback__)
    files = [Path(frame.filename).parts for frame in reversed(frames)]
    # torch may raise long after it has traced, and then names the line in its text.
    files += [Path(found).parts for found in reversed(_FILE.findall(str(error)))]
    for names in files:
        for group, room in _ROOMS.items():
            if room in names and "models" in names:
                return group, f"{group}={option_of(group, parts[group])}"
    return "", "the model"


@contextmanager
def _lengths_as_shapes() -> Iterator[None]:
    """``len(tensor)`` is its first size also where that is open.

    Python makes an integer of what ``len`` returns, and the graph one batch size with it.
    """
    plain = builtins.len

    def length(x: object, /) -> int:
        return x.shape[0] if isinstance(x, Tensor) and x.dim() else plain(x)  # type: ignore[arg-type]

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = plain
