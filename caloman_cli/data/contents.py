"""What lies in an HDF5 file: its datasets, groups, links and attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from caloman_cli.data.attributes import Attributes, read_attributes, refers
from caloman_cli.data.container import open_dataset, open_hdf5, reading
from caloman_cli.errors import FileError, UserError, shown

BLOCK_BYTES = 64 * 2**20
_UNKNOWN = 2**16  # bytes of a row of texts or lists, whose length nobody knows
Shape = tuple[int, ...] | None


@dataclass(frozen=True)
class Contents:
    """What lies in one file.

    Args:
        path: The file.
        shapes: Of each dataset, by its name.
        types: Number type of each dataset.
        groups: Names of groups, those above before those below.
        links: Name -> where in the file it leads.
        attributes: Of the file, its groups and its datasets.
    """

    path: Path
    shapes: dict[str, Shape]
    types: dict[str, np.dtype]
    groups: tuple[str, ...]
    links: dict[str, str]
    attributes: Attributes

    @classmethod
    def of(cls, path: Path) -> "Contents":
        """Look into a file.

        Raises:
            FileError: Something in it cannot be read, lies in another file or refers to others.
        """
        with open_hdf5(path) as file:
            shapes: dict[str, Shape] = {}
            types: dict[str, np.dtype] = {}
            groups: list[str] = []
            links: dict[str, str] = {}
            for name, found in _walk(file, path):
                if isinstance(found, str):
                    links[name] = found
                elif isinstance(found, h5py.Dataset):
                    shapes[name], types[name] = found.shape, found.dtype
                else:
                    groups.append(name)
            attributes = read_attributes(file, path, (*groups, *shapes))
        return cls(path, shapes, types, tuple(groups), links, attributes)


def require_alike(many: Sequence[Contents], by_row: Sequence[str], same_detector: bool) -> None:
    """Refuse files that do not make one table.

    Args:
        many: What lies in each file.
        by_row: Names of the datasets that have a row a shower in all of them.
        same_detector: Whether it is known that the files are of one detector.

    Raises:
        UserError: A file differs from the first one in more than rows and attributes.
    """
    first = many[0]
    for other in many[1:]:
        _require_names(first, other)
        for name in first.shapes:
            if name in by_row:
                _require_rows(name, first, other)
            elif not _equal(first.path, other.path, name):
                raise UserError(
                    f"{first.path} and {other.path} differ in '{shown(name)}', which has no row "
                    "for each shower: merge files that agree in it, or remove it in copies"
                )
        for key in ("unit",) if same_detector else ("unit", "geometry"):
            _require_attribute(key, first, other)


def rows_at_a_time(dataset: h5py.Dataset) -> int:
    """Rows of some 64 MiB, whole chunks where there are any."""
    width = int(np.prod(dataset.shape[1:])) * (
        _UNKNOWN if dataset.dtype.hasobject else dataset.dtype.itemsize
    )
    rows = max(1, BLOCK_BYTES // max(1, width))
    chunk = 1 if dataset.chunks is None else dataset.chunks[0]
    return max(1, rows // chunk) * chunk


def _walk(group: h5py.Group, path: Path, above: tuple[int, ...] = ()) -> list:
    """Name -> dataset, group or, of a link, where it leads; groups before what is in them."""
    found: list[tuple[str, h5py.Dataset | h5py.Group | str]] = []
    address = h5py.h5o.get_info(group.id).addr
    for key in group:
        name = f"{group.name.rstrip('/')}/{key}".lstrip("/")
        with reading(path, name):
            link = group.get(key, getlink=True)
            item = None if isinstance(link, h5py.SoftLink) else group.get(key)
        if isinstance(link, h5py.ExternalLink):
            raise FileError(
                f"{path}: '{shown(name)}' is a link to another file, {shown(link.filename)}: copy "
                "what it shows into one file"
            )
        if isinstance(link, h5py.SoftLink):
            found.append((name, link.path))
        elif isinstance(item, h5py.Dataset):
            checked = open_dataset(group.file, path, name, None)
            if refers(checked.dtype):
                raise FileError(
                    f"{path}: '{shown(name)}' refers to other objects, which a copy does not "
                    "have: remove it in a copy"
                )
            found.append((name, checked))
        elif isinstance(item, h5py.Group):
            if h5py.h5o.get_info(item.id).addr in (*above, address):
                raise FileError(f"{path}: group '{shown(name)}' holds itself: remove it in a copy")
            found += [(name, item), *_walk(item, path, (*above, address))]
        else:
            raise FileError(f"{path}: '{shown(name)}' is neither dataset nor group: remove it")
    return found


def _require_names(first: Contents, other: Contents) -> None:
    for one, two in ((first, other), (other, first)):
        if lacking := {*one.shapes, *one.links} - {*two.shapes, *two.links}:
            raise UserError(
                f"{two.path} has no '{shown(min(lacking))}', which {one.path} has: remove it "
                "there, or add it here"
            )
    if first.links != other.links:
        raise UserError(f"links in {first.path} and {other.path} lead to different places")


def _require_rows(name: str, first: Contents, other: Contents) -> None:
    said = [f"(N{''.join(f', {n}' for n in (c.shapes[name] or ())[1:])})" for c in (first, other)]
    if said[0] != said[1]:
        raise UserError(
            f"'{shown(name)}' has shape {said[0]} in {first.path}, {said[1]} in {other.path}: "
            "merge files of one detector and layout"
        )
    one, two = first.types[name], other.types[name]
    if one != two and not (one.kind == two.kind and one.kind in "fiu"):
        raise UserError(
            f"'{shown(name)}' holds {shown(one)} in {first.path}, {shown(two)} in {other.path}: "
            "write both alike"
        )


def _require_attribute(key: str, first: Contents, other: Contents) -> None:
    one, two = (c.attributes[""].get(key) for c in (first, other))
    if one is None or two is None or one.same(two) or str(one.value) == str(two.value):
        return
    advice = {
        "unit": "energies must be in MeV",
        "geometry": "merge files of one detector, or say dataset=NAME if both are of it",
    }[key]
    raise UserError(
        f"{first.path} has {key} {shown(one.value)}, {other.path} has {shown(two.value)}: {advice}"
    )


def _equal(one: Path, two: Path, name: str) -> bool:
    """Whether a dataset is the same in two files."""
    with open_hdf5(one) as a, open_hdf5(two) as b, reading(two, name):
        first, second = a[name], b[name]
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        if first.shape is None:
            return True
        nan = first.dtype.kind in "fc"
        if first.shape == ():
            return np.array_equal(first[()], second[()], equal_nan=nan)
        step = rows_at_a_time(first)
        return all(
            np.array_equal(first[i : i + step], second[i : i + step], equal_nan=nan)
            for i in range(0, len(first), step)
        )
