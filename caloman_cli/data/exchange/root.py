"""Point clouds in a ROOT file: a tree with a list of hits for each shower."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from caloman_cli.data.exchange.clouds import COLUMNS, Clouds
from caloman_cli.data.exchange.formats import (
    FACTS,
    INCIDENT,
    ROWS,
    Source,
    Writer,
    counted,
    facts_in,
    facts_to_write,
)
from caloman_cli.data.files import replacing
from caloman_cli.data.hdf5 import check_energies
from caloman_cli.errors import FileError, needed, reason

TREE = "showers"
_HIT = 'var * {"x": float32, "y": float32, "layer": int32, "energy": float32}'


def libraries() -> tuple[Any, Any]:
    """uproot and awkward.

    Raises:
        UserError: They are not installed.
    """
    said = "'caloman[root]'", "a .root file", "convert to .parquet or .hdf5"
    return needed("uproot", "uproot", *said), needed("awkward", "awkward", *said)


@contextmanager
def writing(path: Path, n: int, facts: Mapping[str, Any]) -> Iterator[Writer]:
    """Write n showers in blocks; the file appears when they are all in it."""
    uproot, awkward = libraries()
    with replacing(path) as part, uproot.recreate(part) as file:
        file[FACTS] = facts_to_write(facts)
        tree = file.mktree(TREE, {INCIDENT: "float64", "hit": _HIT})

        def write(clouds: Clouds) -> None:
            for start in range(0, len(clouds.counts), ROWS):
                counts = clouds.counts[start : start + ROWS]
                first = int(clouds.counts[:start].sum())
                span = slice(first, first + int(counts.sum()))
                hits = {
                    name: awkward.unflatten(column[span], counts)
                    for name, column in clouds.columns.items()
                }
                incident = clouds.incident[start : start + ROWS, 0]
                tree.extend({INCIDENT: incident, "hit": awkward.zip(hits)})

        with counted(write, n) as counting:
            yield counting


@contextmanager
def source(path: Path) -> Iterator[Source]:
    """Open a file that :func:`writing` made, or one with the same branches in MeV.

    Raises:
        UserError: It is damaged or has other branches.
    """
    uproot, awkward = libraries()
    branches = [INCIDENT, *(f"hit_{name}" for name in COLUMNS)]
    try:
        file = uproot.open({path: None})
    except Exception as error:  # noqa: BLE001 (uproot raises many types)
        raise FileError(f"{path} is damaged or not a ROOT file: {reason(error)}") from error
    with file:
        lacking = set(branches) - set(file[TREE].keys() if TREE in file else [])
        if lacking:
            raise FileError(
                f"{path} has no tree '{TREE}' with the branches {', '.join(branches)}: "
                f"{', '.join(sorted(lacking))} is missing"
            )
        facts = facts_in(str(file[FACTS]), path) if FACTS in file else {}
        tree = file[TREE]

        def blocks() -> Iterator[Clouds]:
            try:
                for some in tree.iterate(branches, step_size=ROWS):
                    counts = awkward.to_numpy(awkward.num(some["hit_x"])).astype(np.int64)
                    columns = [
                        awkward.to_numpy(awkward.flatten(some[f"hit_{name}"])) for name in COLUMNS
                    ]
                    incident = awkward.to_numpy(some[INCIDENT]).astype(np.float64)[:, None]
                    check_energies(incident, str(path))
                    yield Clouds(incident, counts, np.column_stack(columns).astype(np.float32))
            except (ValueError, TypeError, LookupError, OSError, RuntimeError) as error:
                raise FileError(f"{path} cannot be read: {reason(error)}") from error

        yield Source(int(tree.num_entries), blocks(), facts)
