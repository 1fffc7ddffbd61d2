"""From shards to the one file that a single process would have written."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from caloman_cli.config.values import Compression
from caloman_cli.data.attributes import plain, read_attributes
from caloman_cli.data.container import open_hdf5
from caloman_cli.data.hdf5 import ShowerFile
from caloman_cli.data.shards import Attributes, Shards, files_of
from caloman_cli.data.showers import block_rows
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.errors import FileError


class _Detector(NamedTuple):
    name: str
    n_voxels: int


def join(folder: Path, out: Path) -> int:
    """Write the showers of a sample in shards to one file; returns how many they are.

    Drawn on one kind of machine with one version, it has the bytes of a sample in one file. Of
    what the shards' attributes do not agree in, as the device, all values are named.

    Raises:
        UserError: A shard is missing, damaged or not of this sample, or there is no room.
    """
    shards = Shards.read(folder)
    files = [ShowerFile.open(path, None) for path in files_of(folder)]
    attributes, name = dict(shards.attributes), ""
    for number, file in enumerate(files):
        start, stop = shards.rows(number)
        own = _attributes(file.path)
        if len(file) != stop - start or own.get("rows") != f"{start}:{stop}":
            raise FileError(
                f"{file.path} is not shard {number} of its sample, rows {start}:{stop}: remove it "
                "and run its 'caloman sample' again"
            )
        attributes, name = _agreed(attributes, own), str(own.get("geometry", ""))
    n_voxels = files[0].n_voxels
    with ShowerWriter(
        out, shards.n, _Detector(name, n_voxels), attributes, cast(Compression, shards.compression)
    ) as writer:
        for file in files:
            with file.reader() as reader:
                for start in range(0, len(file), block_rows(n_voxels)):
                    rows = file.energies[start : start + block_rows(n_voxels)]
                    block = np.empty((len(rows), n_voxels), np.float32)
                    reader.read_into(block, start)
                    writer.write(rows, block)
    return shards.n


def _attributes(path: Path) -> Attributes:
    with open_hdf5(path) as file:
        return {key: plain(one.value) for key, one in read_attributes(file, path, [])[""].items()}


def _agreed(known: Attributes, own: Mapping[str, str | int | float]) -> Attributes:
    """Attributes of the whole, with what a shard says otherwise."""
    found = dict(known)
    for key, value in known.items():
        said = str(value).split(", ") if isinstance(value, str) else [value]
        if key in own and own[key] != value and own[key] not in said:
            found[key] = f"{value}, {own[key]}"
    return found
