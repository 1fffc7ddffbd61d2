"""Who fits the stages of a run, each once."""

import logging

import torch

from caloman_cli.config.settings import TrainerSettings
from caloman_cli.errors import UserError
from caloman_cli.loggers import Logger, NoLogger
from caloman_cli.models.trainable import RowSource, Trainable
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.provenance import Usage
from caloman_cli.runs.stages import StageFolder
from caloman_cli.training.fit import Fit
from caloman_cli.training.interruption import Interruption

log = logging.getLogger(__name__)


class Trainer:
    """Fits the stages of one run, each once.

    Args:
        run: Where checkpoints and history go.
        settings: The group ``trainer``.
        seed: The run's seed.
        device: Where models are trained.
        logger: Who is told about every epoch beside ``history.jsonl``.
        interruption: Who is asked between two steps whether to stop.
    """

    def __init__(
        self,
        run: RunDirectory,
        settings: TrainerSettings,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        logger: Logger | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        self.run, self.settings, self.seed = run, settings, seed
        self.device = torch.device(device)
        self.logger = NoLogger() if logger is None else logger
        self.interruption = Interruption() if interruption is None else interruption

    def fit(
        self, stage: str, model: Trainable, train: RowSource, validation: RowSource
    ) -> dict[str, object]:
        """Train a model, or resume it, or load it where the stage is complete.

        The model ends on the trainer's device, in evaluation mode, with the selected weights.

        Args:
            stage: ``energy``, ``encoder`` or ``density``.
            model: What to train, freshly initialised.
            train: Rows as the model's loss documents them.
            validation: Rows that choose the weights and stop the training.

        Returns:
            A summary: epochs, steps, best epoch and score, why it stopped, cost.

        Raises:
            Diverged: A loss or a gradient became NaN or infinite.
            Preempted: The interruption was asked for; ``last.pt`` is written.
            UserError: The settings do not fit the model.
        """
        folder = self.run.stage(stage)
        model.to(self.device)
        if folder.done:
            self._load(model, folder)
            log.info("%s: complete already", stage)
            return folder.summary()
        with Usage(self.device) as usage, self.interruption.deferred():
            fit = Fit(self, stage, folder, model, train, validation)
            fit.run()
        summary = folder.finish({**fit.summary(), "memory": usage.memory()})
        self._load(model, folder)
        return summary

    def _load(self, model: Trainable, folder: StageFolder) -> None:
        """The selected weights."""
        try:
            model.load_state_dict(folder.selected(self.device))
        except RuntimeError as error:  # other names or shapes
            raise UserError(
                f"{folder.best} holds another network than this version of caloman builds: train"
                " it again, in a new output="
            ) from error
        model.eval()
