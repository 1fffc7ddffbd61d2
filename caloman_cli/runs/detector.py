"""A run in the place of a dataset's name: ``dataset=RUN`` is its detector and its showers."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from caloman_cli.config.targets import refuse_interpolations, refuse_targets
from caloman_cli.data.files import load_state
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import FileError, UserError
from caloman_cli.runs.directory import RunDirectory


def run_dataset(path: Path) -> DictConfig:
    """The group ``dataset`` of a run, complete: it asks for no binning file.

    Args:
        path: A run directory, finished or not, or a model file. A model file without its run
            knows the detector, not the files of showers, which lie where it was trained.

    Raises:
        UserError: There is no run, or it is damaged.
    """
    if path.suffix.lower() == ".xml":
        raise UserError(f"dataset={path} is no run: write geometry={path} for a binning file")
    if path.is_file() and not (path.parent / "config.yaml").is_file():
        return _plain(_of_model(path) | {"train": None, "reference": None}, path)
    run = RunDirectory(path.parent if path.is_file() else path)
    facts: Any = OmegaConf.to_container(run.config).get("dataset")  # type: ignore[union-attr]
    if not isinstance(facts, dict):
        raise UserError(f"{run.config_path} is damaged: it names no dataset")
    # An older run names its binning file, which may have changed since or be gone.
    if facts.get("geometry_xml") is not None and run.model_path.is_file():
        facts |= {key: _of_model(run.model_path)[key] for key in ("geometry", "geometry_xml")}
    return _plain(facts, run.config_path)


def _of_model(path: Path) -> dict[str, Any]:
    """The same of a model file, with the detector that it was trained on."""
    content = load_state(path, remedy="give a run's model.pt", kind="model file of caloman")
    try:
        facts = content["config"]["dataset"]
        geometry = Geometry.from_dict(content["geometry"]).to_dict()
        return {**facts, "geometry": geometry, "geometry_xml": None}
    except (AttributeError, LookupError, TypeError, UserError) as error:
        raise FileError(f"{path} is not a model file of caloman: give a run's model.pt") from error


def _plain(facts: dict[str, Any], where: Path) -> DictConfig:
    """The facts as a config, data only, whoever wrote the file."""
    refuse_interpolations(facts, str(where))
    refuse_targets(facts, str(where))
    return OmegaConf.create(
        {**facts, "limit": None}
    )  # that of what the run learned from is its own
