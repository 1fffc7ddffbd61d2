"""Stages that another run has trained: taken over where all that they depend on is the same."""

import logging
import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from caloman_cli.config.stages import EVERY, STAGES
from caloman_cli.data.files import replacing
from caloman_cli.errors import UserError
from caloman_cli.runs.differences import differences, listed, only
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.stages import StageFolder

log = logging.getLogger(__name__)


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
        known = self.source.files.read().get("data", {})
        if known.get("fingerprint") != fingerprint:
            raise UserError(
                f"reuse={path} learned from other showers ({', '.join(known.get('paths', []))})"
                " than dataset.train: give a run that learned from the same"
            )
        apart = self._apart(stored, config, EVERY)
        if apart:
            raise UserError(
                f"reuse={path} differs in what every stage depends on, {apart}: make it the same"
                " or leave reuse out"
            )
        self.reasons: dict[str, str] = {}
        for stage in STAGES:
            apart = self._apart(stored, config, stage.keys)
            folder = self._folder(stage.name)
            if apart or not folder.done:
                self.reasons[stage.name] = apart or "not finished there"
            elif not folder.is_intact():
                self.reasons[stage.name] = "damaged there"
        self.stages = [stage.name for stage in STAGES if stage.name not in self.reasons]
        if not self.stages:
            reasons = "; ".join(f"{stage} ({why})" for stage, why in self.reasons.items())
            raise UserError(f"reuse={path} has no stage that serves: {reasons}; leave reuse out")

    def give(self, target: RunDirectory) -> None:
        """Copy the stages that the new run has not begun itself, each whole or not at all."""
        for stage, why in self.reasons.items():
            log.info("%s: not taken over from %s: %s", stage, self.source.path, why)
        self._copy(target, "split.npz")
        self._copy(target, "preprocess.pt")
        known = {(row["stage"], row["epoch"]) for row in target.history.rows()}
        for stage in self.stages:
            theirs, ours = self._folder(stage), target.stage(stage)
            if ours.done or ours.last.exists():
                continue
            log.info("%s: taken over from %s", stage, self.source.path)
            with replacing(ours.best) as part:
                shutil.copyfile(theirs.best, part)
            if stage == "encoder":  # `auto` is what it became there
                config: Any = OmegaConf.to_container(target.config)
                target.write_config({**config, "encoder": self.encoder})
                self._copy(target, "latents.h5", of=theirs.summary().get("sha256"))
            for row in self.source.history.rows():
                if row["stage"] == stage and (stage, row["epoch"]) not in known:
                    target.history.append(row)
            ours.finish(theirs.summary())
        target.record(reused={"run": str(self.source.path), "stages": self.stages})

    def _copy(self, target: RunDirectory, name: str, of: str | None = None) -> None:
        """What is missing or damaged there is made anew."""
        theirs, ours = self.source.path / name, target.path / name
        if self.source.files.intact(theirs) and not ours.exists():
            with replacing(ours) as part:
                shutil.copyfile(theirs, part)
            target.files.seal(ours, of)

    def _apart(self, stored: dict[str, Any], asked: dict[str, Any], keys: tuple[str, ...]) -> str:
        found = differences(only(stored, keys), only(asked, keys), self.source.resolved)
        return listed(found)

    def _folder(self, stage: str) -> StageFolder:
        return StageFolder(self.source.path / stage)  # not made where it is missing
