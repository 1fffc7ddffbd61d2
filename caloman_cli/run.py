"""The run directory: the only thing that verbs share.

::

    config.yaml        resolved; what `auto` became is filled in
    provenance.json    what made the run: versions, git state, data, device, cost of each stage
    status.json        running, ok, interrupted or failed (with the traceback)
    train.log          what the console said
    history.jsonl      one row per epoch
    split.npz          rows of the training and of the validation split
    preprocess.pt      fitted preprocessing
    {energy,encoder,density}/  last.pt (resume exactly), best.pt, done.json
    latents.h5         hand-off from the encoder to the density model
    model.pt           self-contained
    samples/ evaluation/
    scalars.csv tensorboard/ wandb/  what the loggers keep
"""

import fcntl
import json
import logging
import os
import shutil
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from caloman_cli.differences import differences
from caloman_cli.errors import UserError
from caloman_cli.storage import read_json, write_json, write_text
from caloman_cli.targets import refuse_interpolations
from caloman_cli.training.settings import STAGES

log = logging.getLogger(__name__)

_FILES = (
    "config.yaml",
    "provenance.json",
    "status.json",
    "train.log",
    "history.jsonl",
    "split.npz",
    "preprocess.pt",
    "latents.h5",
    "model.pt",
    "scalars.csv",
)
_FOLDERS = (*STAGES, "samples", "evaluation", "wandb", "tensorboard")


class History:
    """Rows of ``history.jsonl``, one per epoch: stage, epoch, step, scores, seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict]:
        """All rows; a last line that a crash cut short is left out."""
        rows = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def append(self, row: dict) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def keep(self, wanted: Callable[[dict], bool]) -> None:
        """Drop the rows that a resumed run will write again."""
        rows = [row for row in self.rows() if wanted(row)]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))


class StageFolder:
    """Files of one stage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.best = path / "last.pt", path / "best.pt"
        self._done = path / "done.json"

    @property
    def done(self) -> bool:
        return self._done.exists()

    def summary(self) -> dict:
        """What :meth:`finish` wrote."""
        return read_json(self._done)

    def finish(self, summary: dict) -> None:
        """Mark the stage as complete: it is skipped from now on."""
        write_json(self._done, summary)


class RunDirectory:
    """Paths and guarded writes of one run.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.yaml"
        self.provenance_path = self.path / "provenance.json"
        self.status_path = self.path / "status.json"
        self.model_path = self.path / "model.pt"
        self.latents_path = self.path / "latents.h5"
        self.split_path = self.path / "split.npz"
        self.preprocess_path = self.path / "preprocess.pt"
        self.log_path = self.path / "train.log"
        self.samples = self.path / "samples"
        self.evaluation = self.path / "evaluation"
        self.history = History(self.path / "history.jsonl")

    def stage(self, name: str) -> StageFolder:
        """The folder of a stage, made when missing."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return StageFolder(folder)

    @property
    def config(self) -> DictConfig:
        """The run's resolved config.

        Raises:
            UserError: The directory is no run directory.
        """
        if not self.config_path.is_file():
            raise UserError(
                f"{self.path} is no run directory (it has no config.yaml): give the output of"
                " 'caloman train'"
            )
        config = OmegaConf.load(self.config_path)
        if not isinstance(config, DictConfig):
            raise UserError(f"{self.config_path} is not a mapping: the run directory is damaged")
        refuse_interpolations(OmegaConf.to_container(config), str(self.config_path))
        return config

    def require_model(self) -> Path:
        """The path of the finished model.

        Raises:
            UserError: The directory is no run directory, or its training has not finished.
        """
        if not self.model_path.is_file():
            config = self.config
            state = read_json(self.status_path)["status"] if self.status_path.exists() else "new"
            verb = "distill" if "distill" in config else "train"
            raise UserError(
                f"{self.path} has no model yet (training: {state}): finish it with the same"
                f" 'caloman {verb}' command and output={config.output}"
            )
        return self.model_path

    def write_config(self, config: dict) -> None:
        write_text(self.config_path, OmegaConf.to_yaml(OmegaConf.create(config)))

    def record(self, **entries: object) -> None:
        """Set entries of ``provenance.json``."""
        known = read_json(self.provenance_path) if self.provenance_path.exists() else {}
        write_json(self.provenance_path, {**known, **entries})

    def record_stage(self, stage: str, summary: dict[str, object]) -> None:
        """Add the cost and the outcome of a stage to ``provenance.json``."""
        known = read_json(self.provenance_path)
        self.record(stages={**known.get("stages", {}), stage: summary})

    def record_data(self, data: dict[str, object]) -> None:
        """Add what the run learns from to ``provenance.json``.

        Raises:
            UserError: The run began with other data.
        """
        known = read_json(self.provenance_path) if self.provenance_path.exists() else {}
        if "data" in known and known["data"]["fingerprint"] != data["fingerprint"]:
            raise UserError(
                f"output={self.path} began with other showers (files with the same names have"
                " changed): give another output=, or overwrite=true to begin again"
            )
        self.record(data=data)

    @contextmanager
    def claimed(self, config: dict, *, overwrite: bool = False) -> Iterator[None]:
        """Be the only process that trains here, with this config; keep ``status.json`` true.

        Args:
            config: The resolved config, plain types only.
            overwrite: Remove what a run with another config has left.

        Raises:
            UserError: The directory belongs to another run or another process, or holds files
                that are no run's.
        """
        self._refuse_strangers(config, overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make output={self.path}: {error.strerror}; give another output="
            ) from error
        with self._locked():
            if overwrite:
                self._clear()
            if not self.config_path.exists():
                self.write_config(config)
            with self._status():
                yield

    def _refuse_strangers(self, config: dict, overwrite: bool) -> None:
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not self.config_path.exists():
            if {entry.name for entry in self.path.iterdir()} <= {".lock", "train.log"}:
                return
            raise UserError(f"output={self.path} holds files of something else: give a new one")
        if overwrite:
            return
        stored = OmegaConf.to_container(self.config)
        differing = differences(stored, config)
        if differing:
            raise UserError(
                f"output={self.path} holds another run; it differs in {'; '.join(differing)}:"
                " give another output=, or overwrite=true to replace that run"
            )

    def _clear(self) -> None:
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            if (self.path / name).is_dir():
                shutil.rmtree(self.path / name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / ".lock").open("a+") as file:
            try:
                # Freed by the system when the process dies, however it dies.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise UserError(
                    f"output={self.path} is in use by {file.read().strip()}: wait for it or give"
                    " another output="
                ) from error
            except OSError as error:
                log.warning("cannot lock %s: %s", self.path, error)
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    @contextmanager
    def _status(self) -> Iterator[None]:
        status: dict[str, Any] = {
            "status": "running",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _now(),
        }
        write_json(self.status_path, status)
        try:
            yield
        except (SystemExit, KeyboardInterrupt):
            write_json(self.status_path, {**status, "status": "interrupted", "ended": _now()})
            raise
        except BaseException as error:
            failure = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": traceback.format_exc(),
            }
            write_json(
                self.status_path,
                {**status, "status": "failed", "ended": _now(), "error": failure},
            )
            raise
        write_json(self.status_path, {**status, "status": "ok", "ended": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
