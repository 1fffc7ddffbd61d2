"""``caloman sample``: draw showers from a trained run."""

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

import caloman_cli
from caloman_cli.config.settings import TrainerSettings
from caloman_cli.data.files import sha256
from caloman_cli.data.showers import read_energies
from caloman_cli.data.spectrum import Spectrum, draw_known, known_spectrum, warn_foreign
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.errors import UserError
from caloman_cli.models.noise import Noise, mix
from caloman_cli.models.two_step import SAMPLING, TwoStep, load_model
from caloman_cli.runs.device import configure_cuda, resolve_device
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.provenance import config_hash, git_state

log = logging.getLogger(__name__)

_STEP_VALUES = 1 << 26  # 256 MiB of float32 for each temporary of a step

_ENERGIES_STREAM = 0x656E6572  # keeps the incident energies apart from the model's noise
_SUFFIXES = (".hdf5", ".h5", ".hdf")
_SECONDS_BETWEEN_LINES = 30.0


def run(cfg: DictConfig) -> Path:
    """Sample a run.

    Args:
        cfg: The checked config of ``conf/sample.yaml``.

    Returns:
        The file of showers.

    Raises:
        UserError: The run is not finished, it is not clear which showers are wanted, the file
            exists, or the incident energies cannot be read.
    """
    _check_choice(cfg)
    model_path = find_model(Path(cfg.run))
    out = Path(cfg.out) if cfg.out is not None else default_out(cfg, model_path)
    if out.exists() and not cfg.overwrite:
        raise UserError(f"{out} exists: give another out=, or overwrite=true")
    if out.suffix not in _SUFFIXES:
        log.warning("%s will be an HDF5 file, whatever its name says", out)
    device = resolve_device(cfg.device)
    given = None if cfg.energies is None else read_energies(Path(cfg.energies))
    model, trained = loaded(model_path, device)
    energies = _drawn(cfg, model) if given is None else given
    warn_foreign(model, energies)
    began = time.perf_counter()
    write_sample(
        model,
        energies,
        out,
        seed=cfg.seed,
        batch_size=cfg.batch_size,
        attributes=provenance(cfg, model_path, trained, device) | _origin(cfg, model),
    )
    seconds = time.perf_counter() - began
    log.info(
        "%d showers in %.1f s (%.4f ms per shower, file included) on %s",
        len(energies), seconds, 1e3 * seconds / len(energies), device,
    )  # fmt: skip
    log.info("%s", out)
    return out


def write_sample(
    model: TwoStep,
    energies: np.ndarray,
    out: Path,
    *,
    seed: int,
    batch_size: int,
    attributes: dict[str, str | int | float],
) -> None:
    """Draw one shower per incident energy and write them in order.

    Memory does not grow with N: one batch is computed while the one before is being written.

    Args:
        model: The model, on its device.
        energies: Incident energies [MeV], float64, shape (N, 1).
        out: The file; it appears when it is complete.
        seed: The sample's seed.
        batch_size: Showers per step, fewer where voxels are many; row i has the same noise in any.
        attributes: Provenance that the file carries.
    """
    n = len(energies)
    step = max(1, min(batch_size, _STEP_VALUES // model.geometry.n_voxels))
    device = next(model.buffers()).device
    with (
        ShowerWriter(out, n, model.geometry, attributes) as writer,
        _Progress(n) as progress,
        torch.inference_mode(),
    ):
        for start in range(0, n, step):
            rows = energies[start : start + step]
            e_inc = torch.as_tensor(rows, dtype=torch.float32, device=device)
            voxels = model.sample(e_inc, Noise(seed, start, len(rows), device))
            writer.write(rows, voxels.cpu().numpy())
            progress.add(len(rows))


def find_model(run_path: Path) -> Path:
    """The model of ``run=``: a run directory, or the ``model.pt`` in one.

    Raises:
        UserError: There is neither, it is damaged, or the training has not finished.
    """
    if run_path.is_file():
        RunDirectory(run_path.parent).require(run_path)
        return run_path
    if not run_path.exists():
        raise UserError(f"run={run_path} does not exist: give the output of 'caloman train'")
    return RunDirectory(run_path).require_model()


def loaded(model_path: Path, device: torch.device) -> tuple[TwoStep, dict]:
    """The model and its config; CUDA computes as it did in the training.

    Raises:
        UserError: The file is not a model file.
    """
    model, trained = load_model(model_path, device)
    settings = asdict(TrainerSettings()) | trained.get("trainer", {})
    configure_cuda(device, deterministic=settings["deterministic"], tf32=settings["tf32"])
    return model, trained


def default_out(cfg: DictConfig, model_path: Path) -> Path:
    """``RUN/samples/<energies file, or n and energy>_seed<seed>.hdf5``: a name for a sample."""
    if cfg.energies is not None:
        source = Path(cfg.energies).stem
    else:
        source = f"n{cfg.n}" + ("" if cfg.energy is None else f"_energy{_asked(cfg.energy)}")
    return model_path.parent / "samples" / f"{source}_seed{cfg.seed}.hdf5"


def _check_choice(cfg: DictConfig) -> None:
    """What to sample is said once.

    Raises:
        UserError: It is said twice or not at all.
    """
    if cfg.energy is not None and (cfg.n is None or cfg.energies is not None):
        raise UserError(
            "energy= needs n= (how many showers)"
            + ("" if cfg.energies is None else " instead of energies= (an energy for each shower)")
        )
    if (cfg.n is None) == (cfg.energies is None):
        raise UserError(
            "give one of n= (how many showers) and energies= (file of incident energies)"
        )


def _drawn(cfg: DictConfig, model: TwoStep) -> np.ndarray:
    """Incident energies of ``n`` showers [MeV], float64, shape (n, 1)."""
    generator = np.random.default_rng(mix(cfg.seed, _ENERGIES_STREAM))
    if cfg.energy is None:
        return draw_known(model, generator, cfg.n)
    return Spectrum(_bounds(cfg.energy)).draw(generator, cfg.n)


def _origin(cfg: DictConfig, model: TwoStep) -> dict[str, str | int | float]:
    """What the file says of its incident energies."""
    if cfg.energies is not None:
        path = Path(cfg.energies)
        return {"energies_file": path.name, "energies_sha256": sha256(path)}
    if cfg.energy is not None:
        return {"energies_asked": f"{_asked(cfg.energy)} MeV"}
    return {"energies_drawn": str(known_spectrum(model))}


def _bounds(energy: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, [energy] if isinstance(energy, int | float) else energy))


def _asked(energy: float | Sequence[float]) -> str:
    """``65536`` or ``1000-100000``: exact, so that other energies have another name."""
    return "-".join(repr(bound).removesuffix(".0") for bound in _bounds(energy))


def provenance(
    cfg: DictConfig, model_path: Path, trained: dict, device: torch.device
) -> dict[str, str | int | float]:
    """What the file of showers says about its origin.

    Raises:
        UserError: The run is being trained again.
    """
    git = git_state()
    data = _training_data(RunDirectory(model_path.parent))
    try:
        digest = sha256(model_path)
    except FileNotFoundError as error:
        raise _replaced(model_path.parent) from error
    return {
        "caloman_version": caloman_cli.__version__,
        "git_commit": "none" if git is None else f"{git['commit']}{'+' if git['dirty'] else ''}",
        "config_sha256": config_hash(trained),
        "model": str(model_path),
        "model_sha256": digest,
        "training_data": json.dumps(data, sort_keys=True),
        "sampling_version": SAMPLING,
        "seed": int(cfg.seed),
        "device": str(device),
        "torch_version": str(torch.__version__),
    }


def _training_data(directory: RunDirectory) -> dict:
    """What the run says of the showers it learned from; a model file on its own says nothing."""
    known = directory.files.read()
    if "data" not in known and directory.status.text().startswith("running"):
        raise _replaced(directory.path)
    data: dict = known.get("data", {})  # the student of a lone model file has none either
    return data


def _replaced(folder: Path) -> UserError:
    return UserError(f"{folder} is being trained again by another process: wait until it is done")


class _Progress:
    """A bar on a terminal, one line now and then in a log."""

    def __init__(self, n: int) -> None:
        self._bar = tqdm(
            total=n, desc="sample", unit="shower", unit_scale=True, dynamic_ncols=True,
            leave=False, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._n, self._done, self._last = n, 0, time.monotonic()

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, rows: int) -> None:
        self._bar.update(rows)
        self._done += rows
        if self._bar.disable and time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            log.info("sample: %d of %d showers", self._done, self._n)
