"""Which recipe suits a detector: what ``caloman train`` takes where nothing else was asked for.

A recipe (``conf/recipe/*.yaml``) chooses an option of each group below; every one of them can be
chosen otherwise on the command line.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from caloman_cli.data.detector import dataset_geometry
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

AUTO = "auto"
"""The recipe that stands for the one that suits the detector."""
GROUPS = ("energy", "encoder", "head", "density", "calibration", "trainer")
HEADS = {
    "scales": ("multiscale", "hurdle_mixture"),
    "scales_hadrons": ("multiscale", "hurdle_mixture"),
    "scales_long": ("multiscale_long", "hurdle_mixture"),
    "rings": ("autoregressive_dipoles", "autoregressive", "hurdle_mixture"),
    "rings_hadrons": ("autoregressive", "hurdle_mixture"),
    "cylinder": ("cylinder_direction", "cylinder", "hurdle_mixture"),
}
"""Recipe -> its head, then those for encoders that it does not serve."""
_ELECTROMAGNETIC = ("photon", "gamma", "electron", "positron", "e-", "e+", "pi0")
_MANY = 20  # layers

Compose = Callable[[Sequence[str]], DictConfig]
"""Overrides -> the composed config, with Hydra's part."""


def suited(geometry: Geometry) -> str:
    """The recipe for a detector.

    ``scales_long`` for many layers, neighbours of which see each other, else ``scales``, of
    hadronic showers with layer energies in the order in which hadrons cross them.
    """
    if geometry.n_layers >= _MANY:
        return "scales_long"
    return "scales" if geometry.particle in _ELECTROMAGNETIC else "scales_hadrons"


def chosen_for(compose: Compose, jobs: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What to choose for the user, as overrides: the recipe, and a head for another encoder.

    Nothing where the user or an experiment chose a recipe, or where the detector is not known
    yet: what is wrong with a dataset is said by those who open it.

    Args:
        compose: Composes the overrides of a job.
        jobs: The overrides of each job; one job where there is no sweep.

    Raises:
        UserError: The jobs are for detectors that want several recipes.
    """
    found: dict[str, str] = {}
    for job in jobs:
        cfg = compose(job)
        recipe = _recipe(cfg.dataset) if cfg.hydra.runtime.choices.recipe == AUTO else None
        if recipe is not None:
            found[recipe] = cfg.dataset.name
    if not found:
        return ()
    if len(found) > 1:
        shown = ", ".join(f"{recipe} for {name}" for recipe, name in found.items())
        raise UserError(
            f"the jobs of this sweep want several recipes ({shown}): give one of them,"
            " recipe=NAME, or a sweep for each detector"
        )
    recipe = next(iter(found))
    _, *others = HEADS[recipe]
    chosen = (f"recipe={recipe}",)
    keys = {key.lstrip("+~").partition("=")[0] for job in jobs for key in job}
    if keys & {"head", "experiment"} or not any(key.split(".")[0] == "encoder" for key in keys):
        return chosen
    if all(_fits(compose([*job, *chosen])) for job in jobs):
        return chosen
    for head in others:
        with suppress(HydraException):  # keys that were typed belong to the recipe's own head
            if all(_fits(compose([*job, *chosen, f"head={head}"])) for job in jobs):
                return (*chosen, f"head={head}")
    return chosen  # nothing fits: the error of the recipe's own head tells what does


def said(recipe: str, dataset: str, choices: Mapping[str, str]) -> str:
    """The line that tells what was chosen and how to choose otherwise.

    Args:
        recipe: The recipe that was taken.
        dataset: Name of the dataset.
        choices: Group -> option, as composed: with what the user chose.
    """
    shown = " ".join(f"{group}={choices[group]}" for group in GROUPS)
    return (
        f"recipe={recipe} suits {dataset}: {shown} (choose otherwise: any group=option, recipe=,"
        " or experiment=caloman_* as published)"
    )


def _recipe(dataset: DictConfig) -> str | None:
    try:
        return suited(dataset_geometry(dataset))
    except UserError:
        return None


def _fits(cfg: DictConfig) -> bool:
    """Whether encoder and head of a config serve each other and the detector."""
    from caloman_cli.config import targets
    from caloman_cli.models.two_step import build

    values = OmegaConf.to_container(cfg.encoder)
    assert isinstance(values, dict)
    if values.get("latent_dim") == "auto":
        values["latent_dim"] = 1
    groups = {group: cfg[group] for group in targets.PLACES if group in cfg}
    try:
        with targets.trusting(targets.named(values)):
            build({**groups, "encoder": values}, dataset_geometry(cfg.dataset))
    except UserError:
        return False
    return True
