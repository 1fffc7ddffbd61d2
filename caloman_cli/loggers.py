"""Who is told about an epoch beside ``history.jsonl``."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from caloman_cli.errors import UserError

log = logging.getLogger(__name__)
WANDB_MODES = ("online", "offline", "disabled")


class Logger:
    """Told of every row of history."""

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Start, or go on, for the run in ``folder`` with a resolved config of plain types."""

    def log(self, row: Mapping[str, object]) -> None:
        """One epoch: ``stage``, ``epoch``, ``step`` and numbers."""

    def close(self, exit_code: int) -> None:
        """The run ends: 0 well, else its exit status."""


class NoLogger(Logger):
    """Nobody; ``history.jsonl`` has it all."""


def numbers(row: Mapping[str, object]) -> dict[str, float]:
    """The numbers of a row, named ``stage/...``; each stage counts its own epochs."""
    stage = row["stage"]
    return {
        f"{stage}/{name}": float(value)
        for name, value in row.items()
        if isinstance(value, (int, float)) and name not in ("step",)
    }


class TensorBoard(Logger):
    """Scalars for ``tensorboard --logdir``, against the epoch of their stage."""

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, row: Mapping[str, object]) -> None:
        epoch = int(str(row["epoch"]))
        for name, value in numbers(row).items():
            if not name.endswith("/epoch"):
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, exit_code: int) -> None:
        self._writer.close()


class Wandb(Logger):
    """Weights & Biases.

    ``online`` without a key or a network becomes ``offline`` with one warning; nothing waits
    longer than ``init_timeout``, and no error of the service ends a training.

    Args:
        project: The project's name.
        entity: User or team, or null for the key's own.
        group: Groups the jobs of a multirun, or null.
        name: The run's name; null takes the run directory's.
        tags: Labels.
        mode: ``online``, ``offline`` or ``disabled``.
        init_timeout: Seconds to wait for the service.

    Raises:
        UserError: The mode does not exist.
    """

    def __init__(
        self,
        project: str = "caloman",
        entity: str | None = None,
        group: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        mode: str = "online",
        init_timeout: float = 30.0,
    ) -> None:
        if mode not in WANDB_MODES:
            raise UserError(f"logger.mode={mode}, must be one of {', '.join(WANDB_MODES)}")
        self.project, self.entity, self.group, self.name = project, entity, group, name
        self.tags, self.mode, self.init_timeout = list(tags), mode, init_timeout
        self._run: Any = None

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        mode = self.mode
        if mode == "online" and not _has_wandb_key():
            log.warning("wandb has no key here ('wandb login' stores one): logging offline")
            mode = "offline"
        try:
            self._run = self._start(folder, config, mode)
        except (wandb.Error, OSError) as error:
            if mode != "online":
                log.warning("wandb does not start (%s): logging to history.jsonl only", error)
                return
            reason = str(error).splitlines()[0]
            log.warning("wandb cannot be reached (%s): logging offline", reason)
            self._run = self._start(folder, config, "offline")
        if self._run.url:
            log.info("wandb: %s", self._run.url)

    def _start(self, folder: Path, config: Mapping[str, Any], mode: str) -> Any:
        import wandb

        # The same id when the same directory is resumed.
        identity = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        settings = wandb.Settings(
            init_timeout=self.init_timeout, console="off", silent=True, x_disable_stats=True
        )
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            name=self.name or folder.name,
            tags=self.tags,
            config=dict(config),
            dir=folder,
            mode=mode,  # type: ignore[arg-type]
            id=identity,
            resume="allow" if mode == "online" else None,
            reinit="finish_previous",
            settings=settings,
        )
        for stage in ("energy", "encoder", "density"):
            run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
        return run

    def log(self, row: Mapping[str, object]) -> None:
        if self._run is not None:
            self._run.log(numbers(row))

    def close(self, exit_code: int) -> None:
        if self._run is not None:
            self._run.finish(exit_code=exit_code)
            self._run = None


def _has_wandb_key() -> bool:
    """Whether wandb would find a key without asking on the terminal."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    for place in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        path = Path(place or "~/.netrc").expanduser()
        with contextlib.suppress(OSError, NetrcParseError):
            if host and netrc(path).authenticators(host):
                return True
    return False


def make_logger(node: DictConfig) -> Logger:
    """The logger of the group ``logger``."""
    settings = {str(key): value for key, value in OmegaConf.to_container(node).items()}  # type: ignore[union-attr]
    kind = get_class(settings.pop("_target_"))
    logger: Logger = kind(**settings)
    return logger


@contextlib.contextmanager
def watching(logger: Logger, folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """The logger is open inside the block and learns how the block ended."""
    logger.open(folder, config)
    exit_code = 1
    try:
        yield
        exit_code = 0
    except SystemExit as stop:
        exit_code = stop.code if isinstance(stop.code, int) else 1
        raise
    finally:
        logger.close(exit_code)
