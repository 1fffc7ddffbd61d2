"""A bar on a terminal, a few lines in a log file."""

import logging
import sys
import time

from tqdm import tqdm

from caloman_cli.runs.console import ON_THE_BAR

log = logging.getLogger(__name__)
_QUIET_SECONDS = 10.0
_SECONDS_BETWEEN_LINES = 30.0


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``: as exact as a forecast is."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if whole >= 120 else f"{whole} s"


class ProgressLine:
    """Shows how far a stage is.

    On a terminal a bar of steps; elsewhere, and in the run's log, at most one line every ten
    seconds, at the end of an epoch, and one for the last epoch.

    Args:
        stage: The stage's name.
        done: Steps that are done already.
        total: Steps of the whole stage.
    """

    def __init__(self, stage: str, done: int, total: int) -> None:
        self.stage = stage
        self._bar = tqdm(
            desc=stage,
            initial=done,
            total=total,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        self._last_line = 0.0
        self._began, self._steps, self._left = time.monotonic(), 0, total - done

    def step(self) -> None:
        self._bar.update()
        self._steps += 1

    def epoch(self, number: int, epochs: int, row: dict[str, object], final: bool) -> None:
        """Show the row of an epoch that has just ended."""
        losses = {
            name.replace("validation", "val"): f"{value:.4g}"
            for name, value in row.items()
            if "/" in name and isinstance(value, float)
        }
        if not self._bar.disable:
            self._bar.set_postfix({"epoch": number, **losses}, refresh=False)
        now = time.monotonic()
        if final or now - self._last_line >= _QUIET_SECONDS:
            self._last_line = now
            text = "  ".join(f"{name} {value}" for name, value in losses.items())
            if not final and self._steps:
                text += f"  about {self._remaining()} left"
            log.info(
                "%s: epoch %d of %d  %s", self.stage, number, epochs, text,
                extra={} if self._bar.disable else {ON_THE_BAR: True},
            )  # fmt: skip

    def _remaining(self) -> str:
        """Of the stage, at the pace so far."""
        pace = (time.monotonic() - self._began) / self._steps
        return duration(pace * max(0, self._left - self._steps))

    def close(self) -> None:
        self._bar.close()


class RowsDone:
    """Shows how many rows are done: a bar on a terminal, one line now and then in a log.

    Args:
        what: What is being done.
        n: How many rows there are.
        unit: What a row is.
    """

    def __init__(self, what: str, n: int, unit: str) -> None:
        self._bar = tqdm(
            total=n, desc=what, unit=unit, unit_scale=True, dynamic_ncols=True,
            leave=False, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._what, self._unit = what, unit
        self._n, self._done, self._last = n, 0, time.monotonic()
        self._began = self._last

    def __enter__(self) -> "RowsDone":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, rows: int) -> None:
        self._bar.update(rows)
        self._done += rows
        if self._bar.disable and time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            left = (self._last - self._began) / self._done * (self._n - self._done)
            said = self._what, self._done, self._n, self._unit, duration(left)
            log.info("%s: %d of %d %ss, about %s left", *said)
