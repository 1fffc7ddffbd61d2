"""Weights & Biases."""

import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from caloman_cli.config.values import Positive, checked
from caloman_cli.data.files import read_json, write_json
from caloman_cli.errors import UserError, needed, reason
from caloman_cli.loggers.base import Logger, multirun, numbers, said_name, said_tags
from caloman_cli.loggers.evaluated import Evaluated

log = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled"]
_DATA_DIR = "WANDB_DATA_DIR"
_IDENTITY = ("id", "project", "entity", "group", "name")


@checked
class Wandb(Logger):
    """Weights & Biases.

    ``online`` without a key or a network becomes ``offline`` with one warning; nothing waits
    longer than the two timeouts. ``wandb/run.json`` in the run's directory remembers which wandb
    run it is: a resumed training and evaluations of its model go on with that one, offline too.

    Args:
        project: The project's name; null takes ``WANDB_PROJECT``, else ``caloman``.
        entity: User or team, or null for the key's own.
        group: Groups runs; null takes the folder of the multirun, if there is one.
        name: The run's name; null takes the directory's, or what was evaluated.
        tags: Labels.
        mode: ``online``, ``offline`` or ``disabled``; null does as wandb is told elsewhere
            (``WANDB_MODE``, ``wandb offline``), else online.
        init_timeout: Seconds to wait for the service at the start.
        finish_timeout: Seconds to wait for uploads at the end; ``wandb sync`` sends the rest.

    Raises:
        UserError: wandb is not installed or a timeout is not positive.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        mode: Mode | None = None,
        init_timeout: Positive = 30.0,
        finish_timeout: Positive = 20.0,
    ) -> None:
        self._wandb: Any = needed("wandb", "wandb", "wandb", "logger=wandb", "logger=none")
        self.project, self.entity, self.group, self.name = project, entity, group, name
        self.tags, self.mode = list(tags), mode
        self.init_timeout, self.finish_timeout = init_timeout, finish_timeout
        self._run: Any = None

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.tags = [*dict.fromkeys([*self.tags, *said_tags(config)])]
        self._begin(folder, said_name(config, folder), config)
        if self._run is not None:
            for stage in ("energy", "encoder", "density"):
                self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")

    def log(self, row: Mapping[str, object]) -> None:
        if self._run is not None:
            self._run.log(numbers(row))

    def close(self, exit_code: int) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            log.warning(
                "wandb has not taken everything within %g s: 'wandb sync %s' sends the rest",
                self.finish_timeout,
                run.settings.sync_dir,
            )

    def abandon(self) -> None:
        # Otherwise what is left of a dead service complains when Python exits.
        self._run = None
        self._wandb.teardown()

    def evaluated(self, evaluation: Evaluated) -> None:
        settings = {evaluation.key("settings"): dict(evaluation.settings)}
        self._begin(evaluation.home, f"{evaluation.label} {evaluation.suite}", settings)
        if self._run is None:
            return
        try:
            with _staging(evaluation.home / "wandb" / "data"):
                self._tell(evaluation)
        finally:
            self.close(0)

    def _tell(self, evaluation: Evaluated) -> None:
        """Every number into the run's summary; headlines, tables, pictures and times as panels."""
        run, key, wandb = self._run, evaluation.key, self._wandb
        everything: dict[str, float] = {}
        panels: dict[str, Any] = {}
        for scalar in evaluation.scalars:
            values = {"": scalar.value, "/truth": scalar.truth, "/error": scalar.error}
            told = {key(scalar.key + end): x for end, x in values.items() if x is not None}
            everything |= told
            if scalar.headline:
                panels |= told
        run.summary.update(everything)
        for name, sheet in evaluation.sheets.items():
            rows = [list(row) for row in sheet.rows]
            panels[key(f"tables/{name}")] = wandb.Table(
                columns=list(sheet.heads), data=rows, allow_mixed_types=True
            )
        for path in evaluation.figures:
            panels[key(f"plots/{path.stem}")] = wandb.Image(str(path), caption=path.stem)
        run.log(panels)
        if evaluation.points:
            self._tell_times(evaluation)

    def _tell_times(self, evaluation: Evaluated) -> None:
        """A curve over batch sizes for each measure."""
        axis = evaluation.key("batch_size")
        self._run.define_metric(evaluation.key("ms_per_shower/*"), step_metric=axis)
        for size in sorted({point.batch_size for point in evaluation.points}):
            times = {
                evaluation.key(f"ms_per_shower/{point.measure}"): point.value
                for point in evaluation.points
                if point.batch_size == size
            }
            self._run.log({axis: size, **times})

    def _begin(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        """Start the run of ``folder``, or go on with it; no run where wandb is disabled."""
        wandb = self._wandb
        mode = self._mode()
        if mode == "disabled":
            return
        record = folder / "wandb" / "run.json"
        identity = _known(record) or self._new(name)
        self._run = None
        if mode not in ("offline", "dryrun"):
            try:
                if wandb.login(prompt=False, verify=False):
                    self._run = self._start(folder, config, identity, mode)
                else:
                    log.warning(
                        "wandb has no key here ('wandb login' stores one): logging offline"
                    )
            except Exception as error:  # noqa: BLE001  whatever it is, offline may work
                log.warning("wandb cannot be reached (%s): logging offline", reason(error))
                # The service believes that the run goes on and would refuse to start it again.
                wandb.teardown()
        if self._run is None:
            self._run = self._start(folder, config, identity, "offline")
            log.info("wandb: offline; 'wandb sync %s' uploads it", self._run.settings.sync_dir)
        else:
            log.info("wandb: %s", self._run.url)
        # wandb's own agents choose another id, the service fills in the entity.
        identity |= {"id": self._run.id, "project": self._run.project}
        identity["entity"] = self._run.entity or identity["entity"]
        record.parent.mkdir(exist_ok=True)
        write_json(record, identity)

    def _mode(self) -> str:
        """What was asked for here, else what the environment and wandb's settings files say."""
        settings = self._wandb.Settings(silent=True)
        if self.mode is not None:
            settings.mode = self.mode
        found: str = self._wandb.setup(settings=settings).settings.mode
        return found

    def _start(
        self,
        folder: Path,
        config: Mapping[str, Any],
        identity: Mapping[str, str | None],
        mode: str,
    ) -> Any:
        wandb = self._wandb
        return wandb.init(
            **identity,
            tags=self.tags or None,  # an empty list would take a resumed run's away
            config=dict(config),
            dir=folder,
            mode=mode,
            resume="allow",
            reinit="finish_previous",
            settings=wandb.Settings(
                init_timeout=self.init_timeout,
                finish_timeout=self.finish_timeout,
                finish_timeout_raises=True,
                console="off",
                silent=True,
                x_disable_stats=True,
            ),
        )

    def _new(self, name: str) -> dict[str, str | None]:
        """A new wandb run for a directory."""
        elsewhere = self._wandb.setup().settings  # the environment's and the settings files'
        return {
            "id": secrets.token_hex(8),
            "project": self.project or elsewhere.project or "caloman",
            "entity": self.entity,
            "group": self.group or elsewhere.run_group or multirun(),
            "name": self.name or elsewhere.run_name or name,
        }


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Tables wait for their upload beside the run, not in a home that a job may not have."""
    if os.environ.get(_DATA_DIR):
        yield
        return
    os.environ[_DATA_DIR] = str(folder)
    try:
        yield
    finally:
        del os.environ[_DATA_DIR]


def _known(record: Path) -> dict[str, str | None]:
    """Which wandb run an earlier process wrote down for a directory; empty if none did."""
    if not record.exists():
        return {}
    try:
        known = read_json(record)
        return {key: known[key] for key in _IDENTITY}
    except (UserError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s): a new wandb run begins", record, reason(error))
        return {}
