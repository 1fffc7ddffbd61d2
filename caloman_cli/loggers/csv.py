"""Numbers as rows of a CSV file."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from caloman_cli.data.files import replacing
from caloman_cli.loggers.base import Logger, numbers
from caloman_cli.loggers.evaluated import Cell, Evaluated

NAME = "scalars.csv"
COLUMNS = ("step", "key", "value", "truth", "error")


class Csv(Logger):
    """``scalars.csv``: a line per number, in the run directory and in each evaluation's.

    The step is the epoch of the stage, or a batch size of the timing sweep; single numbers have
    none. A resumed run replaces the lines of the epochs that it repeats.
    """

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._path = folder / NAME
        self._told: set[object] = set()

    def log(self, row: Mapping[str, object]) -> None:
        stage, epoch = row["stage"], int(str(row["epoch"]))
        if stage not in self._told:
            self._told.add(stage)
            kept = [line for line in self._lines() if _precedes(line, f"{stage}/", epoch)]
            _write(self._path, kept)
        rows = [
            (epoch, name, value, None, None)
            for name, value in numbers(row).items()
            if not name.endswith("/epoch")
        ]
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_text(rows))

    def evaluated(self, evaluation: Evaluated) -> None:
        key = evaluation.key
        rows: list[Sequence[Cell]] = [
            (None, key(item.key), item.value, item.truth, item.error)
            for item in evaluation.scalars
        ]
        rows += [
            (item.batch_size, key(f"ms_per_shower/{item.measure}"), item.value, None, None)
            for item in evaluation.points
        ]
        _write(evaluation.output / NAME, rows)

    def _lines(self) -> list[list[str]]:
        """What is there; a last line that a crash cut short is left out."""
        if not self._path.exists():
            return []
        with self._path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))[1:]
        return [line for line in lines if len(line) == len(COLUMNS)]


def _precedes(line: Sequence[str], stage: str, epoch: int) -> bool:
    return not line[1].startswith(stage) or int(line[0]) < epoch


def _write(path: Path, rows: Iterable[Sequence[Cell]]) -> None:
    with replacing(path) as part:
        part.write_text(_text([COLUMNS, *rows]), encoding="utf-8", newline="")


def _text(rows: Iterable[Sequence[Cell]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
