"""Which recipe suits a detector: what ``caloman train`` takes where nothing else was asked for.

A recipe (``conf/recipe/*.yaml``) chooses an option of each group below; every one of them can be
chosen otherwise on the command line.
"""

from collections.abc import Mapping

from omegaconf import DictConfig

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.sources import dataset_geometry
from caloman_cli.errors import UserError
from caloman_cli.heads.cylinder import Cylinder

AUTO = "auto"
"""The recipe that stands for the one that suits the detector."""
GROUPS = ("energy", "encoder", "head", "density", "calibration", "trainer")
_ELECTROMAGNETIC = ("photon", "electron", "positron")


def suited(geometry: Geometry) -> str:
    """The recipe for a detector.

    ``cylinder`` where one network can walk through layers of one shape, else ``rings``, which
    serves any detector: of electromagnetic showers told which way layers lean, of hadronic ones
    with layer energies in the order in which hadrons cross them.
    """
    if Cylinder.serves(geometry):
        return "cylinder"
    return "rings" if geometry.particle in _ELECTROMAGNETIC else "rings_hadrons"


def recipe_for(dataset: DictConfig) -> str | None:
    """The recipe for the group ``dataset``; None where its detector is not known yet.

    What is wrong with the dataset is said by those who open it.
    """
    try:
        return suited(dataset_geometry(dataset))
    except UserError:
        return None


def said(recipe: str, dataset: str, choices: Mapping[str, str]) -> str:
    """The line that tells what was chosen and how to choose otherwise.

    Args:
        recipe: The recipe that was taken.
        dataset: Name of the dataset.
        choices: Group -> option, as composed: with what the user chose.
    """
    chosen = " ".join(f"{group}={choices[group]}" for group in GROUPS)
    return (
        f"recipe={recipe} suits {dataset}: {chosen} (choose otherwise: any group=option, recipe=,"
        " or experiment=caloman_* as published)"
    )
