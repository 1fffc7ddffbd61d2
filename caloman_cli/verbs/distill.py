"""``caloman distill``: a run whose density is an ODE in, one that needs no solver out."""

import logging
import math
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from caloman_cli.config.check import trainer_settings
from caloman_cli.config.options import option_of
from caloman_cli.config.targets import Place, constructor
from caloman_cli.data.files import replacing, replacing_hdf5
from caloman_cli.data.fingerprint import content_fingerprint
from caloman_cli.errors import UserError
from caloman_cli.loggers import make_logger
from caloman_cli.models.densities.denoiser import Denoiser
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.student import Student
from caloman_cli.models.noise import Noise, mix
from caloman_cli.models.trainable import TensorRows, iterate
from caloman_cli.models.two_step import TwoStep, load_model, make, save_model
from caloman_cli.runs.device import resolve_device
from caloman_cli.runs.directory import RunDirectory, find_model
from caloman_cli.training.latents import read_datasets
from caloman_cli.training.session import fit_stage, session
from caloman_cli.training.trainer import Trainer

log = logging.getLogger(__name__)

_WEIGHTS, _TRAINING, _VALIDATION = range(3)  # what a seed is for
_FEWEST = 10_000  # paths that a student learns from, where nobody says how many
_VALIDATION_SHARE = 10  # a tenth as many paths validate
_ROWS = 4096
_SECONDS_BETWEEN_LINES = 30.0
_STUDENT = Place("caloman_cli.models.densities", "caloman_cli.models.densities.velocity:Velocity")
_CHUNK_VALUES = 1 << 24  # 64 MiB of float32 for the widest layer of a batch


def run(cfg: DictConfig) -> Path:
    """Train a one-step student of a run's density; resume what is there.

    Energy model, encoder, preprocessing and split are the teacher's. No showers are read: the
    student learns from paths of the teacher's ODE at the conditions of its training split.

    Args:
        cfg: The resolved config of ``conf/distill.yaml``.

    Returns:
        The student's run directory.

    Raises:
        UserError: The teacher has not finished, is not a flow or is in ``output``; the settings
            or the directory do not serve.
        Preempted: SIGTERM or Ctrl-C; the same command goes on.
    """
    settings = trainer_settings(cfg.trainer)
    device = resolve_device(cfg.device)
    model_path = find_model(Path(cfg.run))
    if Path(cfg.output).resolve() == model_path.parent.resolve():
        raise UserError(f"output={cfg.output} is the teacher's own directory: give a new one")
    teacher, trained = load_model(model_path, device)
    flow = _flow(cfg, teacher)
    if cfg.method != "path" and not isinstance(flow, Denoiser):
        raise UserError(
            f"method={cfg.method} learns from levels of noise, which run={cfg.run} of "
            f"density={option_of('density', flow)} does not know: give method=path"
        )
    conditions = _conditions(model_path, device)
    logger = make_logger(cfg.logger)
    n = max(len(conditions[0]), _FEWEST) if cfg.paths is None else cfg.paths
    config = _student_config(cfg, flow, trained, content_fingerprint(model_path), n)
    with session(cfg, config, settings, device, logger) as trainer:
        if trainer is not None:
            _inherit(trainer.run, model_path, trained)
            _distill(trainer, teacher, flow, conditions, config)
        _paths(RunDirectory(cfg.output)).unlink(missing_ok=True)
    return Path(cfg.output)


def _distill(
    trainer: Trainer,
    teacher: TwoStep,
    flow: ODE,
    conditions: tuple[Tensor, Tensor],
    config: dict,
) -> None:
    torch.manual_seed(mix(trainer.seed, _WEIGHTS))
    c_dim = conditions[0].shape[1]
    student: Student = make(config, "density")(latents=flow.latents, c_dim=c_dim)
    student.to(trainer.device).learn_from(flow)
    file = _paths(trainer.run)
    file.parent.mkdir(exist_ok=True)
    trainer.run.files.ensure(
        file,
        lambda: _write_paths(file, flow, conditions, config, student.intervals, trainer.seed),
    )
    train, validation = _read_paths(file, trainer.device)
    fit_stage(trainer, "density", student, train, validation)
    student.learned()
    error = _error(student, validation)
    trainer.run.record(student={"steps": student.steps, "rms_error": error})
    log.info("the student's latents are %.4f from the teacher's (rms, scaled latents)", error)
    parts = teacher.geometry, teacher.preprocess, teacher.energy, teacher.encoder
    model = TwoStep(*parts, student, teacher.calibration, teacher.spectrum)
    from caloman_cli.report.training import write_curves  # nothing else here draws

    write_curves(trainer.run)
    save_model(trainer.run.model_path, model, config)
    trainer.run.files.seal(trainer.run.model_path)
    trainer.run.files.forget(file)
    log.info("distilled: %s", trainer.run.model_path)


def _paths(directory: RunDirectory) -> Path:
    """Paths of the teacher's ODE, there until the student has learned from them."""
    return directory.path / "density/paths.h5"


def _flow(cfg: DictConfig, teacher: TwoStep) -> ODE:
    """The teacher's density."""
    if not isinstance(teacher.density, ODE):
        raise UserError(
            f"run={cfg.run} has density={option_of('density', teacher.density)}, which is no "
            "ODE: give a run of one that is, as of 'caloman train density=flow_matching'"
        )
    if teacher.density.noising == "tweedie":
        raise UserError(
            f"run={cfg.run} has density.noise=tweedie, which corrects what its ODE draws and a "
            "student cannot: give a run with density.noise=none, additive or conditional"
        )
    return teacher.density


def _conditions(model_path: Path, device: torch.device) -> tuple[Tensor, Tensor]:
    """Conditions (N, C) of the teacher's training and validation split."""
    source = RunDirectory(model_path.parent)
    path = source.latents_path
    if not path.is_file():
        raise UserError(f"{path} is missing: the student learns from the conditions in it")
    source.require(path)
    condition, train = read_datasets(path, "condition", "train")
    c = torch.as_tensor(condition, dtype=torch.float32, device=device)
    return c[train], c[~train]


def _student_config(
    cfg: DictConfig, flow: ODE, trained: dict[str, Any], fingerprint: str, paths: int
) -> dict[str, Any]:
    """The teacher's config with the student in the place of its density."""
    own: Any = OmegaConf.to_container(cfg, resolve=True)
    given = {key: value for key, value in own["student"].items() if value is not None}
    net = {**flow.student(), **given}
    constructor(net, _STUDENT, "student")
    scaling = {"scaler": flow.scaler.kind, "prune": flow.scaler.prune}
    density = {"net": net, "steps": cfg.steps, **scaling}
    intervals = cfg.steps
    if cfg.method == "path":
        density["_target_"] = "caloman_cli.models.densities.FlowMap"
    else:
        density["_target_"] = "caloman_cli.models.densities.Consistency"
        density["target"], density["levels"] = cfg.method, cfg.levels
        intervals = cfg.levels
    whole = flow.steps if cfg.teacher_steps is None else cfg.teacher_steps
    distill = {
        "run": own["run"],
        "teacher": fingerprint,
        "teacher_steps": math.ceil(whole / intervals) * intervals,  # ends of jumps lie on the grid
        "paths": paths,
    }
    keys = ("trainer", "logger", "output", "overwrite", "name", "tags", "seed", "device")
    return {**trained, "density": density, "distill": distill, **{key: own[key] for key in keys}}


def _inherit(directory: RunDirectory, model_path: Path, trained: dict[str, Any]) -> None:
    """What the student's run takes over from the teacher's, beside the model itself."""
    source = RunDirectory(model_path.parent)
    known = source.files.read()
    if "data" in known:
        directory.record_data(known["data"])
    directory.record(teacher={"model": str(model_path), "config": trained, "provenance": known})
    for theirs, ours in (
        (source.split_path, directory.split_path),
        (source.preprocess_path, directory.preprocess_path),
    ):
        if theirs.is_file():
            source.require(theirs)
            directory.files.ensure(ours, partial(_copy, theirs, ours))


def _copy(theirs: Path, ours: Path) -> None:
    with replacing(ours) as part:
        shutil.copyfile(theirs, part)


def _write_paths(
    file: Path, flow: ODE, conditions: tuple[Tensor, Tensor], config: dict, keep: int, seed: int
) -> None:
    """Solve the teacher's ODE from fresh noise; conditions are repeated as often as needed."""
    settings = config["distill"]
    n = settings["paths"]
    log.info("solving the teacher's ODE %d times in %d steps", n, settings["teacher_steps"])
    said = time.monotonic()
    width = max((len(weight) for weight in flow.parameters() if weight.ndim), default=1)
    with replacing_hdf5(file) as out:
        for name, c, count, use in (
            ("train", conditions[0], n, _TRAINING),
            ("validation", conditions[1], math.ceil(n / _VALIDATION_SHARE), _VALIDATION),
        ):
            dim = flow.scaler.n_active
            # Files may be sorted by energy: where there are fewer paths, they see a bit of all.
            order = np.random.default_rng(mix(seed, use)).permutation(len(c))
            states = out.create_dataset(f"{name}/states", (count, keep + 1, dim), "f4")
            condition = out.create_dataset(f"{name}/condition", (count, c.shape[1]), "f4")
            step = max(1, _CHUNK_VALUES // max(dim * (keep + 1), width))
            for start in range(0, count, step):
                index = np.arange(start, min(start + step, count)) % len(c)
                rows = c[torch.from_numpy(order[index]).to(c.device)]
                x = Noise(mix(seed, use), start, len(rows), c.device).normal(dim)
                with torch.inference_mode():
                    path = flow.path(x, flow.told(rows), settings["teacher_steps"], keep)
                states[start : start + len(rows)] = path.cpu().numpy()
                condition[start : start + len(rows)] = rows.cpu().numpy()
                if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
                    said = time.monotonic()
                    log.info("%s paths: %d of %d", name, start + len(rows), count)


def _read_paths(file: Path, device: torch.device) -> tuple[TensorRows, TensorRows]:
    """Rows (states (B, k + 1, A), c (B, C)) to learn from and to validate with."""
    with h5py.File(file, "r") as content:
        train, validation = (
            [torch.from_numpy(content[f"{name}/{key}"][:]) for key in ("states", "condition")]
            for name in ("train", "validation")
        )
    return TensorRows(*train, device=device), TensorRows(*validation, device=device)


@torch.no_grad()
def _error(student: Student, rows: TensorRows) -> float:
    """Root mean square distance per dimension from the ends of the teacher's paths."""
    total = sum(float(student.ode_error(batch)) * len(batch[0]) for batch in iterate(rows, _ROWS))
    return math.sqrt(total / len(rows) / student.scaler.n_active)
