"""Attributes of HDF5 files: read, compared, carried on, and a history of what was done."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from caloman_cli import __version__
from caloman_cli.data.container import reading
from caloman_cli.errors import FileError, shown

HISTORY = "caloman_history"
"""Attribute with what made a file out of others: a JSON list, the oldest step first."""


@dataclass(frozen=True)
class Attribute:
    """One attribute as it is in a file.

    Args:
        value: As h5py gives it.
        shape: Its shape.
        dtype: Its type, that of a text included.
    """

    value: Any
    shape: tuple[int, ...] | None
    dtype: np.dtype

    def same(self, other: "Attribute") -> bool:
        """Whether two attributes say the same in the same form."""
        if self.shape != other.shape or self.dtype != other.dtype:
            return False
        return self.shape is None or np.array_equal(self.value, other.value)


Attributes = dict[str, dict[str, Attribute]]
"""Name of a dataset or group, nothing for the file itself -> name -> attribute."""


def read_attributes(file: h5py.File, path: Path, names: Iterable[str]) -> Attributes:
    """The attributes of a file and of some of its datasets and groups.

    Raises:
        FileError: One is not readable, or refers to other objects.
    """
    found: Attributes = {}
    for name in ("", *names):
        found[name] = {}
        with reading(path, name or "/"):
            attrs = file[name or "/"].attrs
            for key in attrs:
                kind = attrs.get_id(key)
                if refers(kind.dtype):
                    raise FileError(
                        f"{path}: attribute '{shown(key)}' of '{shown(name or '/')}' refers to "
                        "other objects, which a copy does not have: remove it in a copy"
                    )
                shape = None if isinstance(attrs[key], h5py.Empty) else kind.shape
                found[name][key] = Attribute(attrs[key], shape, kind.dtype)
    return found


def common(many: Sequence[Attributes]) -> tuple[Attributes, list[dict[str, Any]]]:
    """What all files say, and what each of them says for itself.

    Args:
        many: The attributes of each file, of the same objects.

    Returns:
        The attributes that are the same in all files, and of each file the others, in plain
        types: ``seed``, or ``showers.unit`` where it belongs to a dataset.
    """
    first = many[0]
    shared: Attributes = {
        name: {
            key: attribute
            for key, attribute in mine.items()
            if all(key in a[name] and attribute.same(a[name][key]) for a in many[1:])
        }
        for name, mine in first.items()
    }
    own = [
        {
            f"{name}.{key}" if name else key: plain(attribute.value)
            for name, mine in attributes.items()
            for key, attribute in mine.items()
            if key not in shared[name]
        }
        for attributes in many
    ]
    return shared, own


def write_attributes(attributes: Mapping[str, Attribute], target: h5py.HLObject) -> None:
    """Give a file, group or dataset these attributes."""
    for key, attribute in attributes.items():
        if attribute.shape is None:
            target.attrs[key] = attribute.value
        else:
            target.attrs.create(key, attribute.value, attribute.shape, attribute.dtype)


def add_step(file: h5py.File, step: Mapping[str, Any]) -> None:
    """Add what is done, in plain types, to the history of a file that is open to write."""
    before = plain(file.attrs[HISTORY]) if HISTORY in file.attrs else None
    file.attrs[HISTORY] = with_step(before, step)


def with_step(before: Any, step: Mapping[str, Any]) -> str:
    """A history with one more step.

    Args:
        before: What :data:`HISTORY` says, or None where there is none.
        step: In plain types.
    """
    try:
        known = [] if before is None else json.loads(before)
    except (TypeError, ValueError):  # of somebody else
        known = before
    steps = known if isinstance(known, list) else [known]
    return json.dumps([*steps, {**step, "caloman_version": __version__}], allow_nan=False)


def plain(value: Any) -> Any:
    """A value in types that JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str) else None


def refers(dtype: np.dtype) -> bool:
    """Whether values of a type, or of one of its fields, point to objects of their file."""
    if dtype.subdtype is not None:
        return refers(dtype.subdtype[0])
    inner = h5py.check_vlen_dtype(dtype)
    if isinstance(inner, np.dtype):
        return refers(inner)
    if dtype.names:
        return any(refers(dtype[name]) for name in dtype.names)
    return h5py.check_ref_dtype(dtype) is not None
