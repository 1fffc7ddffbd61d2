"""What a run keeps of its stages: checkpoints, and a row per epoch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from caloman_cli.data.files import (
    checksum,
    load_state,
    read_json,
    write_error,
    write_json,
    write_text,
)
from caloman_cli.errors import UserError


class History:
    """Rows of ``history.jsonl``, one per epoch: stage, epoch, step, scores, seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict]:
        """All rows before the first that is damaged, as a crash cuts the last one short."""
        rows = []
        text = self.path.read_text(errors="replace") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def append(self, row: dict) -> None:
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise write_error(self.path, error) from error

    def keep(self, wanted: Callable[[dict], bool]) -> None:
        """Drop the rows that a resumed run will write again."""
        rows = [row for row in self.rows() if wanted(row)]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))


class StageFolder:
    """Files of one stage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.best = path / "last.pt", path / "best.pt"
        self.prepared = path / "prepared"
        self._done = path / "done.json"
        self.remedy = f"remove {path}, then the same command trains this stage again"

    @property
    def done(self) -> bool:
        return self._done.exists()

    def summary(self) -> dict:
        """What :meth:`finish` wrote.

        Raises:
            UserError: It is damaged.
        """
        resume = f"remove it, then the same command goes on from {self.last}"
        return read_json(self._done, resume if self.last.exists() else self.remedy)

    def finish(self, summary: dict) -> dict:
        """Mark the stage as complete: it is skipped from now on.

        Returns:
            The summary with the checksum of the selected weights.
        """
        summary = {**summary, "sha256": checksum(self.best)}
        write_json(self._done, summary)
        shutil.rmtree(self.prepared, ignore_errors=True)
        return summary

    def selected(self, device: torch.device | str = "cpu") -> dict:
        """The selected weights of a complete stage.

        Raises:
            UserError: They are missing or damaged.
        """
        known = self.summary().get("sha256")
        if known is not None and self.best.exists() and checksum(self.best) != known:
            raise UserError(f"{self.best} is damaged: {self.remedy}")
        state: dict = load_state(self.best, device, self.remedy)["model"]
        return state

    def is_intact(self) -> bool:
        """Whether the selected weights of a complete stage are as they were written."""
        try:
            self.selected()
        except UserError:
            return False
        return True

    def clear(self) -> None:
        """Remove the stage; killed in the middle, what is left is a stage that can go on."""
        for path in (self._done, self.last, self.best):
            path.unlink(missing_ok=True)
        if self.path.is_dir():
            shutil.rmtree(self.path)
