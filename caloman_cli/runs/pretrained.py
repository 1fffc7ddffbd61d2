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
from caloman_cli.data.files import checksum, replacing
from caloman_cli.errors import FileError, UserError

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

    Raises:
        UserError: The name or the registry is not known, the file cannot be fetched, or another
            model is there.
    """
    known = registered()
    if name in known:
        folder = default_cache_dir() / "models"
        entry = known[name]
        download([RemoteFile(entry.file, entry.md5, entry.record, entry.doi)], folder)
        sources = {"model.pt": folder / entry.file}
    elif name in shipped():
        sources = {path.name: path for path in _files(SHIPPED / name)}
    else:
        every = ", ".join(f"{PRETRAINED}{one}" for one in sorted({*known, *shipped()}))
        raise UserError(
            f"run={PRETRAINED}{name} is not known: there is {every}; {REGISTRY}=FILE names a"
            " registry of more"
        )
    target = OUTPUT / name
    for file in sorted(sources, reverse=True):  # the model first: another one is left alone
        _copy(sources[file], target / file)
    return target / "model.pt"


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


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in (".pt", ".yaml"))


def _copy(source: Path, target: Path) -> None:
    """Copy a file where it is not there yet.

    Raises:
        UserError: Another one is.
    """
    if target.exists():
        if target.name == "model.pt" and checksum(target) != checksum(source):
            raise UserError(f"{target} is another model: move {target.parent} away")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        shutil.copyfile(source, part)
    if target.name == "model.pt":
        log.info("%s: a copy of %s", target, source)
