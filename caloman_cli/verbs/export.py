"""``caloman export``: a trained model as a file for programs without caloman."""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from caloman_cli.data.spectrum import draw_known
from caloman_cli.errors import UserError
from caloman_cli.export import check, facts, files, par04
from caloman_cli.export.sampler import Sampler, sampler
from caloman_cli.export.trace import traced
from caloman_cli.models.noise import mix
from caloman_cli.runs.directory import find_model
from caloman_cli.runs.progress import duration
from caloman_cli.runs.sampling import ENERGIES_STREAM, loaded, provenance

log = logging.getLogger(__name__)

_ORIGIN = "git_commit", "config_sha256", "model_sha256", "training_data", "sampling_version"
_CPU = torch.device("cpu")


def run(cfg: DictConfig) -> Path:
    """Export a run.

    Args:
        cfg: The checked config of ``conf/export.yaml``.

    Returns:
        The file; of several batch sizes the first one.

    Raises:
        UserError: The run is not finished, a file exists, a package is missing, or the model or
            its detector cannot be exported.
        Failure: A file gives other showers than torch.
    """
    asked = _understood(cfg)
    for batch, out in asked.outs.items():
        _export(cfg, asked, batch, out)
    return next(iter(asked.outs.values()))


def dry_run(cfg: DictConfig) -> None:
    """Say what the command would do; nothing is written.

    Args:
        cfg: The checked config of ``conf/export.yaml``.

    Raises:
        UserError: As :func:`run`, but for what is found when the model is traced.
    """
    asked = _understood(cfg)
    log.info("dry run: nothing is written")
    model = asked.module.model
    for batch, out in asked.outs.items():
        showers = "any number of showers" if batch is None else f"{batch} showers"
        log.info(
            "out: %s (%s), %s a call, about %.0f MiB",
            *(out, "replaced" if out.exists() else "new", showers),
            4 * model.generating_parameters() / 2**20 + 1,
        )
    for port in (*asked.module.inputs, *asked.module.outputs):
        log.info(
            "%s: %s (%s), %s", port.name, port.dtype, ", ".join(map(str, port.shape)), port.what
        )


class _Asked(NamedTuple):
    """What a command asks for: the module, a file for each batch size, where the model is from."""

    module: Sampler
    outs: dict[int | None, Path]
    origin: dict[str, str | int | float]
    energies: Tensor


def _understood(cfg: DictConfig) -> _Asked:
    """What a command asks for, the model loaded.

    Raises:
        UserError: See :func:`run`.
    """
    model_path = find_model(Path(cfg.run))
    outs = _outs(cfg)
    if cfg.format == "onnx":
        files.check_libraries()
    elif cfg.target == "par04":
        raise UserError("target=par04 is a file for ONNX Runtime: give format=onnx")
    model, trained = loaded(model_path, _CPU)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    module = (par04.par04 if cfg.target == "par04" else sampler)(model, cfg.noise)
    whole = provenance(model_path, trained, cfg.seed, _CPU)
    origin = {key: whole[key] for key in _ORIGIN} | _training(model_path, trained)
    generator = np.random.default_rng(mix(cfg.seed, ENERGIES_STREAM))
    energies = torch.as_tensor(draw_known(model, generator, cfg.showers), dtype=torch.float32)
    return _Asked(module.eval(), outs, origin, energies)


def _training(model_path: Path, trained: dict) -> dict[str, str | int]:
    """When and with which seed the model was trained, where it is known."""
    written = datetime.fromtimestamp(model_path.stat().st_mtime, UTC)
    facts = {"run": model_path.parent.name, "trained": written.isoformat(timespec="seconds")}
    return facts | {key: trained[key] for key in ("seed",) if key in trained}


def _outs(cfg: DictConfig) -> dict[int | None, Path]:
    """The file of each batch size.

    Raises:
        UserError: A file exists, its name says another format, or sizes do not fit the target.
    """
    out, sizes = Path(cfg.out), cfg.batch_sizes
    files.check_name(out, cfg.format)
    if cfg.target == "par04":
        if sizes is not None:
            raise UserError("target=par04 has one shower a call: leave batch_sizes out")
        sizes = [1]
    if sizes is None:
        outs: dict[int | None, Path] = {None: out}
    elif len(sizes) == 1:
        outs = {int(sizes[0]): out}
    else:
        outs = {int(n): out.with_name(f"{out.stem}_{n}{out.suffix}") for n in sizes}
        if len(outs) < len(sizes):
            raise UserError(f"batch_sizes={list(sizes)}: each size once")
    for path in outs.values():
        if path.exists() and not cfg.overwrite:
            raise UserError(f"{path} exists: give another out=, or overwrite=true")
    return outs


def _export(cfg: DictConfig, asked: _Asked, batch: int | None, out: Path) -> None:
    module, began = asked.module, time.perf_counter()
    log.info("tracing the model, which takes minutes where it has thousands of operations")
    program = traced(module, asked.energies, batch)
    nodes = sum(node.op == "call_function" for node in program.graph.nodes)
    log.info("%d operations after %s", nodes, duration(time.perf_counter() - began))
    described = facts.facts_of(module, cfg.target, cfg.noise, batch, asked.origin)
    found: list[check.Agreement] = []

    def checked(runner: files.Runner) -> None:
        log.info("running it beside torch")
        energies = asked.energies
        if batch is not None:  # whole calls
            n = max(1, len(energies) // batch) * batch
            energies = energies.repeat(-(-n // len(energies)), 1)[:n]
        found.append(check.compared(module, runner, energies, batch))

    files.write(out, cfg.format, program, module, described, checked)
    one = found[0]
    log.info(
        "%d showers at the energies of the training, same noise: voxels differ by at most %.1e of "
        "the incident energy",
        *(one.showers, one.largest),
    )
    if one.others or one.own:
        log.info(
            "%d of %d are other showers, where a draw lay within rounding of an edge (torch "
            "beside itself in batches of another size: %d)",
            *(one.others, one.showers, one.own),
        )
    size = out.stat().st_size / 2**20
    log.info("%s: %.1f MiB after %s", out, size, duration(time.perf_counter() - began))
