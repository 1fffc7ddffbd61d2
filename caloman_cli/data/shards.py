"""A sample in a folder of shards, each a file of showers, that is read as one file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caloman_cli.data.files import is_part, make_folder_of, read_json, write_json
from caloman_cli.errors import FileError, UserError, counted, reason, shown

INDEX = "index.json"
"""What the folder of a sample in shards is known by."""
_FORMAT = 1
_INDEX = ("showers", "shards", "batch_size", "compression")
_SAMPLE = ("seed", "model_sha256", "sampling_version")  # what one is
_OF_SHARD = ("shard", "rows")  # attributes that a shard has and the whole has not
Attributes = dict[str, str | int | float]


@dataclass(frozen=True)
class Shards:
    """Which rows of N showers lie in which of K files.

    Args:
        folder: Where they are.
        n: N.
        shards: K, not more than N.
        step: Showers that are drawn at once. Shards end where a step does, since a shower's last
            bits follow from those beside it: one process with this batch size draws the same.
        compression: Of the files, see :data:`caloman_cli.config.values.Compression`.
        attributes: Of the whole.
    """

    folder: Path
    n: int
    shards: int
    step: int
    compression: str
    attributes: Attributes

    def rows(self, shard: int) -> tuple[int, int]:
        """The first row of a shard and the one behind its last."""
        steps = -(-self.n // self.step)
        start, stop = (number * steps // self.shards * self.step for number in (shard, shard + 1))
        return start, min(stop, self.n)

    def file(self, shard: int) -> Path:
        """Where a shard is."""
        return self.folder / f"shard-{shard:0{len(str(self.shards - 1))}d}.hdf5"

    def attributes_of(self, shard: int) -> Attributes:
        """What a shard's file says."""
        own = f"{shard} of {self.shards}", "{}:{}".format(*self.rows(shard))
        return {**self.attributes, **dict(zip(_OF_SHARD, own, strict=True))}

    def missing(self) -> list[int]:
        """Which are not there."""
        return [shard for shard in range(self.shards) if not self.file(shard).is_file()]

    def write(self) -> None:
        """Make the folder, or take part in one of the same sample.

        Raises:
            UserError: The folder holds shards of another sample, or something else.
        """
        index = {
            "format": _FORMAT,
            "showers": self.n,
            "shards": self.shards,
            "batch_size": self.step,
            "compression": self.compression,
            "attributes": self.attributes,
        }
        if (self.folder / INDEX).is_file():
            known = _index(self.folder)
            different = _different(known, index)
            if different:
                raise UserError(
                    f"{self.folder} holds another sample ({different}): give another out="
                )
            return
        if self.folder.is_file():
            raise UserError(f"{self.folder} is a file: shards need out=FOLDER")
        make_folder_of(self.folder / INDEX)
        if any(not is_part(entry.name) for entry in self.folder.iterdir()):
            raise UserError(
                f"{self.folder} has other files in it: shards need a folder of their own"
            )
        write_json(self.folder / INDEX, index)

    @classmethod
    def read(cls, folder: Path) -> "Shards":
        """What a folder's index says.

        Raises:
            FileError: It is damaged.
        """
        index = _index(folder)
        try:
            return cls(
                folder,
                int(index["showers"]),
                int(index["shards"]),
                int(index["batch_size"]),
                str(index["compression"]),
                dict(index["attributes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"{folder / INDEX} is damaged ({reason(error)}): draw the sample again"
            ) from error


def is_sharded(path: Path) -> bool:
    """Whether a path is the folder of a sample in shards."""
    return (path / INDEX).is_file()


def files_of(path: Path) -> list[Path]:
    """The file itself, or the shards of a folder in the order of rows.

    Raises:
        UserError: Shards are missing.
    """
    if not is_sharded(path):
        return [path]
    shards = Shards.read(path)
    if missing := shards.missing():
        first = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{path} lacks {counted(len(missing), 'shard')} of {shards.shards} ({first}): run its "
            "'caloman sample' again, which draws what is missing"
        )
    return [shards.file(shard) for shard in range(shards.shards)]


def all_files(paths: Sequence[Path]) -> list[Path]:
    """Files, and the shards of folders, one after the other."""
    return [file for path in paths for file in files_of(path.expanduser())]


def _index(folder: Path) -> dict[str, Any]:
    index = read_json(folder / INDEX, "draw the sample again")
    if index.get("format") != _FORMAT:
        raise FileError(
            f"{folder / INDEX} is no index of shards of format {_FORMAT}, but of "
            f"{shown(index.get('format'))}"
        )
    return index


def _different(known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """In what two samples differ; on which machine they are drawn does not count."""
    pairs = [(key, known.get(key), asked[key]) for key in _INDEX]
    its, mine = known.get("attributes", {}), asked["attributes"]
    energies = [key for key in {**its, **mine} if key.startswith("energ")]
    pairs += [(key, its.get(key), mine.get(key)) for key in (*_SAMPLE, *energies)]
    return ", ".join(f"{key}={shown(a)}, here {shown(b)}" for key, a, b in pairs if a != b)
