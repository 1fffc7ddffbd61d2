"""Who is told about an epoch, or about an evaluation, beside the files of the run."""

from caloman_cli.loggers.base import Logger, NoLogger, Tolerant, make_logger, watching
from caloman_cli.loggers.csv import Csv
from caloman_cli.loggers.evaluated import Evaluated
from caloman_cli.loggers.mlflow import MLflow
from caloman_cli.loggers.several import Several
from caloman_cli.loggers.tensorboard import TensorBoard
from caloman_cli.loggers.wandb import Wandb

__all__ = [
    "Csv",
    "Evaluated",
    "Logger",
    "MLflow",
    "NoLogger",
    "Several",
    "TensorBoard",
    "Tolerant",
    "Wandb",
    "make_logger",
    "watching",
]
