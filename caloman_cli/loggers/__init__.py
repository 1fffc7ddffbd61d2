"""Who is told about an epoch, or about an evaluation, beside the files of the run."""

from caloman_cli.loggers.base import Logger, NoLogger, Tolerant, make_logger, watching
from caloman_cli.loggers.csv import Csv
from caloman_cli.loggers.evaluated import Evaluated
from caloman_cli.loggers.tensorboard import TensorBoard
from caloman_cli.loggers.wandb import Wandb

__all__ = [
    "Csv",
    "Evaluated",
    "Logger",
    "NoLogger",
    "TensorBoard",
    "Tolerant",
    "Wandb",
    "make_logger",
    "watching",
]
