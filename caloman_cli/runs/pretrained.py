"""Models that come along, and those of a registry: ``run=pretrained:NAME``."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from caloman_cli.config.dataset import MD5
from caloman_cli.config.paths import PRETRAINED
from caloman_cli.config.values import Count, require
from caloman_cli.data.cache import default_cache_dir
from caloman_cli.data.download import RemoteFile, download
from caloman_cli.data.files import checksum, make_folder_of, replacing
from caloman_cli.errors import CannotWrite, FileError, UserError
from caloman_cli.runs.dry import is_dry

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[1] / "pretrained"
"""A folder for each model that comes along, with its ``model.pt`` and ``config.yaml``."""
OUTPUT = Path("outputs/pretrained")
"""Where they are put to be used: samples and evaluations lie beside them, as of any run."""
REGISTRY = "CALOMAN_MODELS"
"""Names the registry file, see ``docs/format.md``."""


@dataclass(frozen=True)
class Registered:
    """An entry of a registry.

    Args:
        doi: Identifier to cite, and where to look for the file.
        record: Number of the record.
        file: Name of the model file there.
        md5: Its checksum.
    """

    doi: str
    record: Count
    file: str
    md5: MD5


def placed(name: str) -> Path:
    """The model of a name, put at ``outputs/pretrained/NAME/model.pt`` where it is not there.

    A dry run fetches and copies nothing: it has the model where that lies.

    Raises:
        UserError: The name or the registry is not known, the file cannot be fetched, another
            model is there, or the place cannot be written.
    """
    known = registered()
    if name in known:
        sources = {"model.pt": _fetched(name, known[name])}
    elif name in shipped():
        sources = {path.name: path for path in _files(SHIPPED / name)}
    else:
        every = ", ".join(f"{PRETRAINED}{one}" for one in sorted({*known, *shipped()}))
        raise UserError(
            f"run={PRETRAINED}{name} is not known: there is {every}; {REGISTRY}=FILE names a"
            " registry of more"
        )
    target = OUTPUT / name
    if is_dry():
        here = target / "model.pt"
        if here.exists():
            _refuse_another(sources["model.pt"], here)
        return here if here.exists() else sources["model.pt"]
    try:
        for file in sorted(sources, reverse=True):  # the model first: another one is left alone
            _copy(sources[file], target / file)
    except CannotWrite as error:
        raise CannotWrite(
            f"run={PRETRAINED}{name} is put into this folder: {error}: go where it can be written"
        ) from error
    return target / "model.pt"


def results_of(run_path: Path, model_path: Path) -> Path:
    """The folder in which samples and evaluations of a model lie, also where it is not there yet.

    Args:
        run_path: What ``run=`` says.
        model_path: Where its model was found.
    """
    run = str(run_path)
    named = run.startswith(PRETRAINED)
    return OUTPUT / run.removeprefix(PRETRAINED) if named else model_path.parent


def shipped() -> list[str]:
    """Names of the models that come along."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/model.pt"))


def registered() -> dict[str, Registered]:
    """The entries of the registry that ``$CALOMAN_MODELS`` names; none where it is not set.

    Raises:
        FileError: It cannot be read or an entry does not fit.
    """
    path = os.environ.get(REGISTRY)
    if not path:
        return {}
    try:
        content = OmegaConf.to_container(OmegaConf.load(Path(path).expanduser()))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise FileError(f"{REGISTRY}={path} cannot be read: {error}") from error
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, dict):
        raise FileError(
            f"{path} is no registry: it needs 'models:', a mapping of names to entries"
        )
    return {str(name): _entry(f"{path}: {name}", facts) for name, facts in models.items()}


def _entry(where: str, facts: object) -> Registered:
    keys = set(Registered.__dataclass_fields__)
    if not isinstance(facts, dict) or set(facts) != keys:
        raise FileError(f"{where}: must have the keys {', '.join(sorted(keys))}, no others")
    try:
        require(facts, Registered)
    except UserError as error:
        raise FileError(f"{where}: {error}") from error
    if Path(facts["file"]).name != facts["file"]:
        raise FileError(f"{where}: file={facts['file']} must be a name without folders")
    return Registered(**facts)


def _fetched(name: str, entry: Registered) -> Path:
    """The file of a registry's entry, in the cache."""
    folder = default_cache_dir() / "models"
    if is_dry() and not (folder / entry.file).exists():
        raise UserError(
            f"run={PRETRAINED}{name} has yet to be fetched, and a dry run fetches nothing: leave"
            " --dry-run out"
        )
    download([RemoteFile(entry.file, entry.md5, entry.record, entry.doi)], folder)
    return folder / entry.file


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in (".pt", ".yaml"))


def _copy(source: Path, target: Path) -> None:
    """Copy a file where it is not there yet.

    Raises:
        UserError: Another one is, or it cannot be written.
    """
    if target.exists():
        if target.name == "model.pt":
            _refuse_another(source, target)
        return
    make_folder_of(target)
    with replacing(target) as part:
        shutil.copyfile(source, part)
    if target.name == "model.pt":
        log.info("%s: a copy of %s", target, source)


def _refuse_another(source: Path, target: Path) -> None:
    if checksum(target) != checksum(source):
        raise UserError(f"{target} is another model: move {target.parent} away")
