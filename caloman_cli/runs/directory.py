"""The run directory: the only thing that verbs share.

::

    config.yaml        resolved; what `auto` became is filled in
    provenance.json    what made the run: versions, git state, data, device, cost of each stage
    status.json        running, ok, interrupted or failed (with the traceback)
    train.log          what the console said
    history.jsonl      one row per epoch
    training.png       the losses of it, where a stage has two epochs or more
    split.npz          rows of the training and of the validation split
    preprocess.pt      fitted preprocessing
    {energy,encoder,density}/  last.pt (resume exactly), best.pt, done.json; prepared/ until done
    calibration/       best.pt, done.json
    latents.h5         hand-off from the encoder to the density model
    model.pt           self-contained
    samples/ evaluation/
    profile/           tables of torch's profiler, where it was asked
    scalars.csv tensorboard/ wandb/ mlflow/ mlflow.json  what the loggers keep
"""

import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from caloman_cli.config.paths import PRETRAINED
from caloman_cli.config.public import renamed
from caloman_cli.config.stages import STAGES
from caloman_cli.config.targets import refuse_interpolations
from caloman_cli.data.files import is_part, load_state, lock, remove_dead_parts, write_text
from caloman_cli.errors import UserError
from caloman_cli.runs.differences import RESOLVED, differences, listed
from caloman_cli.runs.pretrained import placed
from caloman_cli.runs.record import Record
from caloman_cli.runs.stages import History, StageFolder
from caloman_cli.runs.status import Status

log = logging.getLogger(__name__)

FORMAT = 2  # of config.yaml: 1 had no number, and named classes by their files

_LABELS = ("name", "tags")
"""Keys of a config that only say what a run is called."""

# In the order in which they are removed.
_FILES = (
    "latents.h5",
    "preprocess.pt",
    "split.npz",
    "history.jsonl",
    "training.png",
    "scalars.csv",
    "mlflow.json",
    "status.json",
    "train.log",
    "provenance.json",
    "config.yaml",
)
_FOLDERS = ("samples", "evaluation", "profile", "wandb", "tensorboard", "mlflow")


class RunDirectory:
    """Paths and guarded writes of one run.

    Args:
        path: The directory; it need not exist yet.
    """

    _REMEDY = "the same 'caloman train' or 'distill' command makes it again"

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.yaml"
        self.provenance_path = self.path / "provenance.json"
        self.files = Record(self.provenance_path)
        self.status = Status(self.path / "status.json")
        self.model_path = self.path / "model.pt"
        self.latents_path = self.path / "latents.h5"
        self.split_path = self.path / "split.npz"
        self.preprocess_path = self.path / "preprocess.pt"
        self.log_path = self.path / "train.log"
        self.samples = self.path / "samples"
        self.evaluation = self.path / "evaluation"
        self.curves_path = self.path / "training.png"
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
        try:
            config = OmegaConf.load(self.config_path)
        except (YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError):
            config = None
        if not isinstance(config, DictConfig) or "output" not in config:
            raise UserError(
                f"{self.config_path} is damaged: restore it, or begin again with overwrite=true"
            )
        number = config.pop("format", 1)
        if number not in range(1, FORMAT + 1):
            raise UserError(
                f"{self.config_path} has format {number}, this version of caloman reads up to "
                f"{FORMAT}: take a newer version"
            )
        values = OmegaConf.to_container(config)
        refuse_interpolations(values, str(self.config_path))
        return OmegaConf.create(renamed(values))

    @property
    def label(self) -> str:
        """What people call the run: its ``name``, else its folder.

        A folder's name is often a time, and its parent says which model it is.
        """
        with suppress(UserError):
            name = self.config.get("name")  # older runs have none
            if name is not None:
                return str(name)
        folder = self.path.resolve()
        return folder.parent.name if folder.name[:1].isdigit() else folder.name

    @property
    def resolved(self) -> tuple[str, ...]:
        """Keys whose ``auto`` the run has replaced by what it became."""
        return tuple(self.files.read().get("auto", RESOLVED))  # older runs did not say

    def require_model(self) -> Path:
        """The path of the finished model.

        Raises:
            UserError: The directory is no run directory, its training has not finished or the
                file is damaged.
        """
        if not self.model_path.is_file():
            config, state = self.config, self.status.text()
            verb = "distill" if "distill" in config else "train"
            raise UserError(
                f"{self.path} has no model yet (training: {state}): finish it with the same"
                f" 'caloman {verb}' command and output={self.path}"
            )
        self.require(self.model_path)
        return self.model_path

    def require(self, file: Path) -> None:
        """Refuse a file that is missing or not as the run has written it.

        Raises:
            UserError: It is not.
        """
        if not file.is_file():
            raise UserError(f"{file} is missing: {self._REMEDY}")
        if self.files.intact(file) is False:
            raise UserError(f"{file} is damaged: {self._REMEDY}")

    def ensure_same(self, file: Path, make: Callable[[], None]) -> None:
        """Make a file that all stages rest on where it is missing or damaged.

        Raises:
            UserError: It has become another one.
        """
        if self.files.ensure(file, make):
            raise UserError(
                f"{file} was damaged and cannot be made again as it was: begin again with"
                " overwrite=true"
            )

    def is_complete(self) -> bool:
        """Whether the model is there, and what the run has made is as it was."""
        if not self.model_path.is_file():
            return False
        if self.files.intact(self.model_path) is None:  # killed before it was on record
            try:
                load_state(self.model_path)
            except UserError:
                return False
            self.files.seal(self.model_path)
        return not self.files.damaged()

    def write_config(self, config: dict) -> None:
        """Write ``config.yaml``, with the number of its format; labels that it has stay."""
        stored = self.config if self.config_path.exists() else {}
        kept = {key: stored[key] for key in _LABELS if stored.get(key) and not config.get(key)}
        numbered = OmegaConf.create({"format": FORMAT, **config, **kept})
        write_text(self.config_path, OmegaConf.to_yaml(numbered))

    def relabel(self, config: dict) -> None:
        """Take over the labels that a config gives; they make no other run, finished or not."""
        stored = self.config
        new = {key: config[key] for key in _LABELS if config.get(key)}
        new = {key: value for key, value in new.items() if stored.get(key) != value}
        if not new:
            return
        written: Any = OmegaConf.load(self.config_path)
        for key, value in new.items():
            log.info("%s: %s=%s, was %s", self.path, key, value, stored.get(key))
            written[key] = value
        write_text(self.config_path, OmegaConf.to_yaml(written))

    def record(self, **entries: object) -> None:
        """Set entries of ``provenance.json``."""
        self.files.set(**entries)

    def record_stage(self, stage: str, summary: dict[str, object]) -> None:
        """Add the cost and the outcome of a stage to ``provenance.json``."""
        known = self.files.read()
        self.record(stages={**known.get("stages", {}), stage: summary})

    def record_data(self, data: dict[str, object]) -> None:
        """Add what the run learns from to ``provenance.json``.

        Raises:
            UserError: The run began with other data.
        """
        known = self.files.read().get("data", data)
        if known.get("fingerprint") != data["fingerprint"]:
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
        self.refuse_strangers(config, overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make output={self.path}: {error.strerror}; give another output="
            ) from error
        with self._locked():
            if overwrite:
                self._clear()
            if self.config_path.exists():
                self.relabel(config)
            else:
                self.write_config(config)
            with self.status.running():
                yield

    def refuse_strangers(self, config: dict, overwrite: bool) -> None:
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not self.config_path.exists():
            found = {entry.name for entry in self.path.iterdir() if not is_part(entry.name)}
            if found <= {".lock", "train.log"}:
                return
            raise UserError(f"output={self.path} holds files of something else: give a new one")
        if overwrite:
            return
        stored = OmegaConf.to_container(self.config)
        differing = differences(stored, config, self.resolved)
        if differing:
            raise UserError(
                f"output={self.path} holds another run; it differs in {listed(differing)}:"
                " give another output=, or overwrite=true to replace that run"
            )

    def _clear(self) -> None:
        """Remove a run; killed in the middle, what is left is the same run, less far.

        So its config goes last, and the fingerprint of its showers after all that learned from
        them.
        """
        self.model_path.unlink(missing_ok=True)
        for stage in STAGES:
            StageFolder(self.path / stage.name).clear()
        for name in _FOLDERS:
            if (self.path / name).is_dir():
                shutil.rmtree(self.path / name)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / ".lock").open("a+") as file:
            try:
                if not lock(file.fileno()):
                    file.seek(0)
                    raise UserError(
                        f"output={self.path} is in use by {file.read().strip()}: wait for it or"
                        " give another output="
                    )
            except OSError as error:
                log.warning("cannot lock %s: %s", self.path, error)
            with suppress(OSError):  # a full disk: what matters will say so
                file.seek(0)
                file.truncate()
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
            remove_dead_parts(self.path)
            yield


def find_model(run_path: Path) -> Path:
    """The model of ``run=``: a run directory, the ``model.pt`` in one, or ``pretrained:NAME``.

    Raises:
        UserError: There is neither, it is damaged, or the training has not finished; or the name
            is not known, see :func:`caloman_cli.runs.pretrained.placed`.
    """
    if str(run_path).startswith(PRETRAINED):
        return placed(str(run_path).removeprefix(PRETRAINED))
    if run_path.is_file():
        RunDirectory(run_path.parent).require(run_path)
        return run_path
    if not run_path.exists():
        raise UserError(f"run={run_path} does not exist: give the output of 'caloman train'")
    return RunDirectory(run_path).require_model()
