"""The density of a finished run, taken over by one that goes on from it."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from caloman_cli.config.options import option_of
from caloman_cli.errors import UserError
from caloman_cli.models.densities.tr0n import TR0N
from caloman_cli.models.densities.unconditional import Unconditional
from caloman_cli.models.trainable import plain_state
from caloman_cli.models.two_step import TwoStep, load_model
from caloman_cli.runs.directory import find_model


def with_part(cfg: DictConfig) -> DictConfig:
    """The config, with the run's density in the place of ``density.part`` where it names a run.

    Raises:
        UserError: The run has not finished, or its density is told conditions.
    """
    run = cfg.density.get("run")
    if run is None:
        return cfg
    _, theirs = _finished(run)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    plain["density"]["part"] = theirs["density"]["part"]
    return OmegaConf.create(plain)


def take_over(model: TwoStep) -> None:
    """Give the model's density the one of the run that it names, if it names one.

    Raises:
        UserError: That one is over the latents of another encoder.
    """
    density = model.density
    if not isinstance(density, TR0N) or density.run is None:
        return
    theirs, _ = _finished(density.run)
    for ours, other in ((model.preprocess, theirs.preprocess), (model.encoder, theirs.encoder)):
        if not _same(plain_state(ours), plain_state(other)):
            raise UserError(
                f"density.run={density.run} is over the latents of another encoder than this "
                f"run's: give reuse={density.run} too, and the preprocessing and encoder settings "
                "of that run"
            )
    assert isinstance(theirs.density, Unconditional)
    density.take_over(theirs.density)


def _finished(run: str) -> tuple[TwoStep, dict[str, Any]]:
    if not Path(run).exists():
        raise UserError(
            f"density.run={run} does not exist: give the output of "
            "'caloman train density=unconditional'"
        )
    model, config = load_model(find_model(Path(run)))
    if type(model.density) is not Unconditional:
        raise UserError(
            f"density.run={run} has density={option_of('density', model.density)}, which is "
            "told conditions: give a run of 'caloman train density=unconditional'"
        )
    return model, config


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(value.cpu(), theirs[name])
        if isinstance(value, torch.Tensor)
        else value == theirs[name]
        for name, value in ours.items()
    )
