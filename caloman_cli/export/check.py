"""Whether a file draws the showers that torch draws, from the same noise."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from caloman_cli.errors import Failure
from caloman_cli.export.files import Runner
from caloman_cli.export.sampler import Sampler

SAME = 1e-5
"""Of a shower's incident energy: voxels that are as near count as equal."""
_MOST_OTHERS = 0.02  # of the showers, where torch itself has none
_CHUNK = 7  # rows; another number of them is computed in another order


class Agreement(NamedTuple):
    """A file beside torch.

    Args:
        showers: How many were compared.
        largest: The largest difference of a voxel over the incident energy, of showers that agree.
        others: Showers that are others: a draw lay within rounding of an edge and fell elsewhere.
        own: How many are others when torch draws them in batches of another size.
    """

    showers: int
    largest: float
    others: int
    own: int


def compared(module: Sampler, run: Runner, energies: Tensor, batch: int | None) -> Agreement:
    """Run a file and torch on the same noise.

    Args:
        module: What was exported.
        run: Runs the file.
        energies: Incident energies [MeV], shape (N, 1).
        batch: Showers of a call; None: all at once.

    Raises:
        Failure: The file gives other showers.
    """
    size = len(energies) if batch is None else batch
    distances, own = [], []
    for start in range(0, len(energies), size):
        rows = energies[start : start + size]
        if batch is not None and len(rows) < size:
            break
        inputs = module.example(rows, seed=start + 1)
        outputs = run(inputs)
        with torch.inference_mode():
            expected = module.expected(inputs, outputs)
            in_parts = torch.cat(
                [
                    module.expected(module.part(inputs, at, at + _CHUNK), outputs)
                    for at in range(0, len(rows), _CHUNK)
                ]
            )
            scale = _scale(module, rows)
            distances.append(_far(outputs[0], expected, scale))
            own.append(_far(in_parts, expected, scale))
    found, itself = torch.cat(distances), torch.cat(own)
    same = found <= SAME
    agreement = Agreement(
        len(found),
        float(found[same].max()) if bool(same.any()) else math.nan,
        int((~same).sum()),
        int((itself > SAME).sum()),
    )
    allowed = max(1, _MOST_OTHERS * len(found)) + 3 * agreement.own
    if agreement.others > allowed:
        raise Failure(
            f"the file gives other showers than torch in {agreement.others} of {len(found)} from "
            f"the same noise (at most {allowed:.0f} are understood as rounding): nothing is "
            "written; another format= may serve, and this is worth a report"
        )
    return agreement


def _scale(module: Sampler, energies: Tensor) -> Tensor:
    """The incident energies in the unit of the output, (B,)."""
    per_mev = {"MeV": energies[:, 0], "GeV": energies[:, 0] / 1e3}
    return per_mev.get(module.outputs[0].unit, torch.ones(len(energies)))


def _far(found: Tensor, expected: Tensor, scale: Tensor) -> Tensor:
    """The largest difference of a voxel over the incident energy, (B,); NaN is infinitely far."""
    return ((found - expected).abs().amax(1) / scale).nan_to_num(math.inf, math.inf)
