"""``status.json``: how a run stands."""

import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caloman_cli.data.files import read_json, write_json
from caloman_cli.errors import CannotWrite, UserError

FORMAT = 2  # of status.json: 1 had no number


class Status:
    """Running, ok, interrupted or failed, and since when.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the file true while a block runs."""
        status: dict[str, Any] = {
            "format": FORMAT,
            "status": "running",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _now(),
        }
        write_json(self.path, status)
        try:
            yield
        except (SystemExit, KeyboardInterrupt):
            self._conclude({**status, "status": "interrupted"})
            raise
        except BaseException as error:
            failure = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": traceback.format_exc(),
            }
            self._conclude({**status, "status": "failed", "error": failure})
            raise
        write_json(self.path, {**status, "status": "ok", "ended": _now()})

    @property
    def cut(self) -> bool:
        """Whether the training was stopped, and nobody goes on with it that we know of."""
        return self.text().startswith(("interrupted", "cut off"))

    def text(self) -> str:
        """How the training stands, for people."""
        if not self.path.exists():
            return "not begun"
        try:
            status = read_json(self.path)
            if status.get("format", 1) not in range(1, FORMAT + 1):  # a newer version's
                return "unknown"
            state = str(status["status"])
            if state == "failed":
                return f"failed: {status['error']['message']}"
            if state != "running":
                return state
            where = f"process {status['pid']} on {status['host']}"
            gone = status["host"] == socket.gethostname() and not _alive(int(status["pid"]))
        except (UserError, AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return "unknown"
        return f"cut off, {where} is gone" if gone else f"running, {where}"

    def _conclude(self, status: dict[str, Any]) -> None:
        """Say how a run ended, unless a full disk is why it ended."""
        with suppress(CannotWrite):
            write_json(self.path, {**status, "ended": _now()})


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
