"""Stages that another run has trained: taken over where all that they depend on is the same."""

import logging
import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from caloman_cli.differences import differences, only
from caloman_cli.errors import UserError
from caloman_cli.run import RunDirectory, StageFolder
from caloman_cli.storage import read_json, replacing
from caloman_cli.training.settings import STAGES

log = logging.getLogger(__name__)

_EVERY = ("seed", "dataset", "preprocess", "trainer.deterministic", "trainer.tf32")
_ENCODER = ("encoder", "head", "trainer.encoder")
_OWN = {
    "energy": ("energy", "trainer.energy"),
    "encoder": _ENCODER,
    "density": (*_ENCODER, "density", "trainer.density", "trainer.latents"),
}
"""Keys that a stage depends on. The encoder learns from true layer energies, the density model
from the encoder's latents."""


class Reuse:
    """What a new run takes over from another one.

    Another density or calibration so ends as in a run from scratch, bit for bit on a CPU. Beside
    another energy model the encoder is one of the same settings: initial weights are drawn for
    one stage after the other, so from scratch it would begin with others.

    Args:
        path: The other run's directory.
        config: The new run's resolved config, plain types only.
        fingerprint: Of the showers that it learns from.

    Attributes:
        stages: Those that are taken over.

    Raises:
        UserError: The path is no run of ``caloman train``, learned from other showers, or none
            of its finished stages serves.
    """

    def __init__(self, path: Path, config: dict[str, Any], fingerprint: str) -> None:
        self.source = RunDirectory(path)
        stored: Any = OmegaConf.to_container(self.source.config)
        self.encoder = stored.get("encoder")
        if Path(config["output"]).resolve() == path.resolve():
            raise UserError(f"reuse={path} is output= itself: give a new output=")
        if "distill" in stored:
            raise UserError(
                f"reuse={path} is a student, which holds no stages of its own: give its teacher,"
                f" {stored['distill']['run']}"
            )
        provenance = self.source.provenance_path
        known = read_json(provenance).get("data", {}) if provenance.is_file() else {}
        if known.get("fingerprint") != fingerprint:
            raise UserError(
                f"reuse={path} learned from other showers ({', '.join(known.get('paths', []))})"
                " than dataset.train: give a run that learned from the same"
            )
        apart = _apart(stored, config, _EVERY)
        if apart:
            raise UserError(
                f"reuse={path} differs in what every stage depends on, {apart}: make it the same"
                " or leave reuse out"
            )
        self.reasons: dict[str, str] = {}
        for stage in STAGES:
            apart = _apart(stored, config, _OWN[stage])
            if apart or not self._folder(stage).done:
                self.reasons[stage] = apart or "not finished there"
        self.stages = [stage for stage in STAGES if stage not in self.reasons]
        if not self.stages:
            reasons = "; ".join(f"{stage} ({why})" for stage, why in self.reasons.items())
            raise UserError(f"reuse={path} has no stage that serves: {reasons}; leave reuse out")

    def give(self, target: RunDirectory) -> None:
        """Copy the stages that the new run has not begun itself, each whole or not at all."""
        for stage, why in self.reasons.items():
            log.info("%s: not taken over from %s: %s", stage, self.source.path, why)
        _copy(self.source.split_path, target.split_path)
        _copy(self.source.preprocess_path, target.preprocess_path)
        known = {(row["stage"], row["epoch"]) for row in target.history.rows()}
        for stage in self.stages:
            theirs, ours = self._folder(stage), target.stage(stage)
            if ours.done or ours.last.exists():
                continue
            log.info("%s: taken over from %s", stage, self.source.path)
            _copy(theirs.best, ours.best)
            if stage == "encoder":  # `auto` is what it became there
                config: Any = OmegaConf.to_container(target.config)
                target.write_config({**config, "encoder": self.encoder})
                _copy(self.source.latents_path, target.latents_path)
            for row in self.source.history.rows():
                if row["stage"] == stage and (stage, row["epoch"]) not in known:
                    target.history.append(row)
            ours.finish(theirs.summary())
        target.record(reused={"run": str(self.source.path), "stages": self.stages})

    def _folder(self, stage: str) -> StageFolder:
        return StageFolder(self.source.path / stage)  # not made where it is missing


def _apart(stored: dict[str, Any], asked: dict[str, Any], keys: tuple[str, ...]) -> str:
    return "; ".join(differences(only(stored, keys), only(asked, keys)))


def _copy(source: Path, target: Path) -> None:
    if source.is_file() and not target.exists():
        with replacing(target) as part:
            shutil.copyfile(source, part)
