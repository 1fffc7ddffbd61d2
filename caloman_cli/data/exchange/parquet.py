"""Point clouds in a Parquet file: a row for each shower, with lists; awkward reads it as it is."""

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


def libraries() -> tuple[Any, Any]:
    """pyarrow and its part for Parquet.

    Raises:
        UserError: They are not installed.
    """
    said = "pyarrow", "'caloman[parquet]'", "a .parquet file", "convert to .root or .hdf5"
    return needed("pyarrow", *said), needed("pyarrow.parquet", *said)


@contextmanager
def writing(path: Path, n: int, facts: Mapping[str, Any]) -> Iterator[Writer]:
    """Write n showers in blocks; the file appears when they are all in it."""
    arrow, parquet = libraries()
    kinds = [arrow.int32() if name == "layer" else arrow.float32() for name in COLUMNS]
    schema = arrow.schema(
        [(INCIDENT, arrow.float64())]
        + [(name, arrow.list_(kind)) for name, kind in zip(COLUMNS, kinds, strict=True)],
        metadata={FACTS: facts_to_write(facts)},
    )
    with replacing(path) as part, parquet.ParquetWriter(part, schema) as file:

        def write(clouds: Clouds) -> None:
            ends = arrow.array(np.concatenate([[0], np.cumsum(clouds.counts)]).astype(np.int32))
            lists = [
                arrow.ListArray.from_arrays(ends, arrow.array(column))
                for column in clouds.columns.values()
            ]
            rows = [arrow.array(clouds.incident[:, 0]), *lists]
            file.write_table(arrow.Table.from_arrays(rows, schema=schema), row_group_size=ROWS)

        with counted(write, n) as counting:
            yield counting


@contextmanager
def source(path: Path) -> Iterator[Source]:
    """Open a file that :func:`writing` made, or one with the same columns in MeV.

    Raises:
        UserError: It is damaged or has other columns.
    """
    arrow, parquet = libraries()
    names = [INCIDENT, *COLUMNS]
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise FileError(f"{path} is damaged or not a Parquet file: {reason(error)}") from error
    with file:
        if lacking := set(names) - set(file.schema_arrow.names):
            absent = ", ".join(sorted(lacking))
            raise FileError(f"{path} has no {absent}: columns {', '.join(names)} are needed")
        text = (file.schema_arrow.metadata or {}).get(FACTS.encode())
        facts = {} if text is None else facts_in(text.decode("utf-8", "replace"), path)

        def blocks() -> Iterator[Clouds]:
            try:
                for some in file.iter_batches(ROWS, columns=names):
                    lists = [some.column(name) for name in COLUMNS]
                    counts = [np.diff(np.asarray(one.offsets)).astype(np.int64) for one in lists]
                    if any((other != counts[0]).any() for other in counts):
                        raise FileError(f"{path}: {', '.join(COLUMNS)} are lists of one length")
                    columns = [np.asarray(one.flatten()) for one in lists]
                    incident = np.asarray(some.column(INCIDENT), np.float64)[:, None]
                    check_energies(incident, str(path))
                    points = np.column_stack(columns).astype(np.float32)
                    yield Clouds(incident, counts[0], points)
            except (arrow.ArrowException, ValueError, TypeError, AttributeError) as error:
                raise FileError(f"{path} cannot be read: {reason(error)}") from error

        yield Source(int(file.metadata.num_rows), blocks(), facts)
