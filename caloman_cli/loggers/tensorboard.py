"""TensorBoard event files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from caloman_cli.errors import needed
from caloman_cli.loggers.base import Logger, numbers
from caloman_cli.loggers.evaluated import Cell, Evaluated, Sheet


class TensorBoard(Logger):
    """Files for ``tensorboard --logdir RUN``: scalars against the epoch of their stage.

    An evaluation adds its numbers with the truth beside them, tables as text, pictures, and times
    against the batch size.

    Raises:
        UserError: TensorBoard is not installed; it comes with the extra ``tensorboard``.
    """

    def __init__(self) -> None:
        extra = '"caloman[tensorboard]"'
        self._make = needed(
            "torch.utils.tensorboard", "tensorboard", extra, "logger=tensorboard", "logger=none"
        ).SummaryWriter

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._writer = self._make(str(folder / "tensorboard"))

    def log(self, row: Mapping[str, object]) -> None:
        epoch = int(str(row["epoch"]))
        for name, value in numbers(row).items():
            if not name.endswith("/epoch"):
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, exit_code: int) -> None:
        self._writer.close()

    def evaluated(self, evaluation: Evaluated) -> None:
        from matplotlib.image import imread  # not before a training, which has no pictures

        key = evaluation.key
        with self._make(str(evaluation.home / "tensorboard")) as writer:
            for scalar in evaluation.scalars:
                if scalar.value is not None:
                    writer.add_scalar(key(scalar.key), scalar.value, 0)
                if scalar.truth is not None:
                    writer.add_scalar(key(f"{scalar.key}/truth"), scalar.truth, 0)
            for point in evaluation.points:
                name = key(f"ms_per_shower/{point.measure}")
                writer.add_scalar(name, point.value, point.batch_size)
            for name, sheet in evaluation.sheets.items():
                writer.add_text(key(f"tables/{name}"), _markdown(sheet), 0)
            for path in evaluation.figures:
                image = imread(path)[..., :3]  # without the alpha channel
                writer.add_image(key(f"plots/{path.stem}"), image, 0, dataformats="HWC")


def _markdown(sheet: Sheet) -> str:
    rules = ["---"] * len(sheet.heads)
    return "\n".join(_line(cells) for cells in (sheet.heads, rules, *sheet.rows))


def _line(cells: Sequence[Cell]) -> str:
    texts = (
        "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)
        for cell in cells
    )
    return f"| {' | '.join(texts)} |"
