"""The detector of the group ``dataset``: facts of the config, layers of a binning file."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue

from caloman_cli.data.binning import Binning, read_binning
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

log = logging.getLogger(__name__)


def dataset_geometry(cfg: DictConfig) -> Geometry:
    """The geometry of the group ``dataset``; ``geometry_xml`` replaces its layers.

    Raises:
        UserError: A fact is missing or the binning file is not readable.
    """
    facts = dataset_facts(cfg)
    if facts["geometry_xml"] is None:
        return Geometry.from_dict(facts["geometry"])
    return with_layers(facts["geometry"], _binning(facts))


def asked_geometry(cfg: DictConfig) -> Geometry | None:
    """The same where a dataset may be left out: None where it was.

    Raises:
        UserError: A key of the dataset was given, but none was chosen, or as above.
    """
    if "name" in cfg:
        return dataset_geometry(cfg)
    if cfg:
        key = str(next(iter(cfg)))
        raise UserError(f"dataset.{key}= needs a dataset: say dataset=NAME as well")
    return None


def with_layers(facts: Mapping[str, Any], binning: Binning) -> Geometry:
    """A detector with the layers of a binning file, and its particle where none is named.

    Raises:
        UserError: Another fact is missing or out of range.
    """
    known = {**facts, "particle": binning.particle, "layers": []}
    return replace(Geometry.from_dict(known), layers=binning.layers)


def settled(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's facts with what its binning file says in the place of the file's name.

    So that a run keeps its detector, whatever becomes of the file.

    Args:
        facts: The group ``dataset``, plain types only.

    Raises:
        UserError: The binning file is not readable.
    """
    return dict(facts) if facts.get("geometry_xml") is None else _settled(facts, _binning(facts))


def settle(cfg: DictConfig) -> None:
    """Do what :func:`settled` does in a composed config, and say what is odd in the file.

    Args:
        cfg: Of a verb, with a binning file.

    Raises:
        UserError: The binning file is not readable.
    """
    facts = dataset_facts(cfg.dataset)
    binning = _binning(facts)
    for text in binning.warnings:
        log.warning("%s: %s", facts["geometry_xml"], text)
    with open_dict(cfg):
        cfg.dataset = _settled(facts, binning)


def dataset_facts(cfg: DictConfig) -> dict[str, Any]:
    """The group ``dataset`` as plain types.

    Raises:
        UserError: A fact is missing.
    """
    try:
        facts = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        keys = sorted(key.removeprefix("dataset.") for key in OmegaConf.missing_keys(cfg))
        missing = ", ".join(f"dataset.{key}=..." for key in keys)
        raise UserError(f"this dataset has no default for some facts: give {missing}") from error
    assert isinstance(facts, dict)
    return {str(key): value for key, value in facts.items()}


def _settled(facts: Mapping[str, Any], binning: Binning) -> dict[str, Any]:
    geometry = with_layers(facts["geometry"], binning)
    return {**facts, "geometry": _lists(geometry.to_dict()), "geometry_xml": None}


def _binning(facts: Mapping[str, Any]) -> Binning:
    path = Path(facts["geometry_xml"]).expanduser()
    return read_binning(path, facts["geometry"]["particle"])


def _lists(values: Any) -> Any:
    """As YAML has it: lists in the place of tuples."""
    if isinstance(values, dict):
        return {key: _lists(value) for key, value in values.items()}
    return [_lists(value) for value in values] if isinstance(values, list | tuple) else values
