"""How the stages of a training are made, each from what those before it have left."""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from caloman_cli.config.stages import STAGES, Stage
from caloman_cli.data.files import save_state
from caloman_cli.metrics.manifold import diffusability
from caloman_cli.models.noise import Noise, mix
from caloman_cli.models.trainable import plain_state
from caloman_cli.models.two_step import TwoStep
from caloman_cli.training.latents import (
    active_dimensions,
    read_datasets,
    read_latents,
    write_latents,
)
from caloman_cli.training.overfitting import warn_of_overfitting
from caloman_cli.training.rows import ShowerRows, VoxelRows, layer_rows
from caloman_cli.training.seeds import CALIBRATION, LATENTS
from caloman_cli.training.session import fit_stage
from caloman_cli.training.takeover import take_over
from caloman_cli.training.trainer import Trainer

log = logging.getLogger(__name__)

_EASE, _FEW = 5000, 100  # showers whose latents are looked at before the second step

Summary = dict[str, Any]


class Workshop(NamedTuple):
    """What every stage of a run is made with.

    Args:
        trainer: Of the run.
        model: Whose parts are fitted; its preprocessing is.
        train: Showers to learn from [MeV].
        validation: Showers of the same store to validate with [MeV].
    """

    trainer: Trainer
    model: TwoStep
    train: ShowerRows
    validation: ShowerRows

    def voxels(self) -> tuple[VoxelRows, VoxelRows]:
        """Rows (x, c) of both splits."""
        preprocess = self.model.preprocess
        return VoxelRows(self.train, preprocess), VoxelRows(self.validation, preprocess)

    def outcomes(self, stage: Stage) -> dict[str, str]:
        """Checksums of the stages that one rests on."""
        run = self.trainer.run
        return {name: run.stage(name).summary().get("sha256", "") for name in stage.after}


def make_stages(shop: Workshop) -> None:
    """Make what is not there of the stages, in their order, and load what is."""
    for stage in STAGES:
        MAKERS[stage.name](shop, stage)


def _energy(shop: Workshop, stage: Stage) -> None:
    rows: Any = (shop.train, shop.validation)
    if not shop.trainer.run.stage(stage.name).done:
        rows = [layer_rows(split, shop.model.preprocess) for split in rows]
    fit_stage(shop.trainer, stage.name, shop.model.energy, *rows)


def _encoder(shop: Workshop, stage: Stage) -> None:
    fit_stage(shop.trainer, stage.name, shop.model.encoder, *shop.voxels())


def _density(shop: Workshop, stage: Stage) -> None:
    run, encoder = shop.trainer.run, shop.model.encoder

    def encode() -> None:
        store = shop.train.store
        everything = VoxelRows(ShowerRows(store, np.arange(len(store))), shop.model.preprocess)
        seed = mix(shop.trainer.seed, LATENTS)
        write_latents(run.latents_path, encoder, everything, shop.train.index, seed)

    made_of = run.stage("encoder").summary().get("sha256")
    if run.files.ensure(run.latents_path, encode, of=made_of):
        log.warning("density: trained on other latents: trained again")
        run.stage(stage.name).clear()
    _record_latents(shop)
    folder = run.stage(stage.name)
    if not folder.done and not folder.last.exists():
        take_over(shop.model)
    latents = read_latents(run.latents_path, shop.trainer.settings.latents, shop.trainer.device)
    fresh = not run.stage(stage.name).done
    fit_stage(shop.trainer, stage.name, shop.model.density, *latents)
    if fresh:
        history = [row for row in run.history.rows() if row["stage"] == stage.name]
        warn_of_overfitting(shop.model.density, latents[1], history)


def _record_latents(shop: Workshop) -> None:
    """Say, and keep beside the encoder's summary, how many latents it uses."""
    run, encoder = shop.trainer.run, shop.model.encoder
    folder, learned = run.stage("encoder"), encoder.n_learned
    summary = folder.summary()
    if "active_latents" in summary:
        return
    active = active_dimensions(run.latents_path, learned)
    found = {"latents": learned, "active_latents": active}
    if active and encoder.n_shower < learned:
        own = active - active_dimensions(run.latents_path, encoder.n_shower)
        numbers = active, learned, own, learned - encoder.n_shower
        log.info("%d of %d latents are active, %d of the %d of layers", *numbers)
        found["active_layer_latents"] = own
    elif active:
        log.info("%d of %d latents are active", active, learned)
    elif encoder.remedy is None:
        log.info("no learned latents, as is meant")
    else:
        log.warning(
            "the encoder has collapsed: 0 of %d latents are active, so the manifold is empty and"
            " the second step has nothing to learn; %s",
            *(learned, encoder.remedy),
        )
    summary = folder.finish({**summary, **found, **_ease(shop)})
    run.record_stage("encoder", summary)


def _ease(shop: Workshop) -> dict[str, dict[str, float]]:
    """How hard the means of real latents are for the second step, said before it begins."""
    mean = read_datasets(shop.trainer.run.latents_path, "mean")[0][:: 1 + len(shop.train) // _EASE]
    mean = mean[:, 0]
    if shop.model.encoder.latents.kind != "real" or len(mean) < _FEW or not np.ptp(mean, 0).any():
        return {}
    found = diffusability(mean)._asdict()
    log.info(
        "latents: %.2g of their directions in use, narrowest over widest %.2g, slices %.2g of "
        "their width from a normal, roughness %.2g (a standard normal: 1, 1, 0, 0)",
        *found.values(),
    )
    return {"diffusability": {name: round(value, 6) for name, value in found.items()}}


def _calibration(shop: Workshop, stage: Stage) -> None:
    """Measured once with the model as it is; again where a part of that has become another."""
    model, run = shop.model.eval(), shop.trainer.run
    folder, made_of = run.stage(stage.name), shop.outcomes(stage)
    if folder.done and folder.summary().get("of") != made_of:
        log.warning("calibration: measured with another model: measured again")
        folder.clear()
        folder = run.stage(stage.name)
    if not folder.done:
        seed, began = mix(shop.trainer.seed, CALIBRATION), time.monotonic()

        def generate(e_inc: Tensor, start: int) -> Tensor:
            return model.draw(e_inc, Noise(seed, start, len(e_inc), e_inc.device))

        model.calibration.fit(shop.train, generate)
        save_state(folder.best, {"model": plain_state(model.calibration)})
        seconds = round(time.monotonic() - began, 3)
        folder.finish({"stage": stage.name, "seconds": seconds, "of": made_of})
    else:
        model.calibration.load_state_dict(folder.selected(shop.trainer.device))
        log.info("%s: complete already", stage.name)
    run.record_stage(stage.name, folder.summary())


MAKERS: dict[str, Callable[[Workshop, Stage], None]] = {
    "energy": _energy,
    "encoder": _encoder,
    "density": _density,
    "calibration": _calibration,
}
"""How each of :data:`caloman_cli.config.stages.STAGES` is made, or loaded where it is there."""
