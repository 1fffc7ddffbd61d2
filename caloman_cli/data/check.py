"""Look through a file of showers and report everything that is odd, not only the first."""

from pathlib import Path

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.hdf5 import ShowerFile
from caloman_cli.data.scan import Report, Scan, describe_energies
from caloman_cli.data.shards import files_of
from caloman_cli.data.showers import block_rows
from caloman_cli.errors import UserError


def check_file(path: Path, geometry: Geometry, chunk: int | None = None) -> Report:
    """Read a file once, in blocks.

    Args:
        path: The file, or the folder of a sample in shards.
        geometry: What it should hold.
        chunk: Rows per block; None takes as many as fit in 64 MiB.

    Returns:
        The report; a file whose header is not usable has one error and no facts.
    """
    report = Report()
    try:
        files = [ShowerFile.open(file, geometry) for file in files_of(path)]
        energies = np.concatenate([file.energies for file in files])
        scan, first = Scan(energies, geometry), 0
        rows = block_rows(geometry.n_voxels) if chunk is None else chunk
        for file in files:
            with file.reader() as reader:
                for start in range(0, len(file), rows):
                    block = np.empty((min(rows, len(file) - start), file.n_voxels), np.float32)
                    reader.read_into(block, start)
                    scan.add(block, first + start)
            first += len(file)
    except UserError as error:
        report.errors.append(str(error))
        return report
    _describe_header(report, files[0], geometry)
    if len(files) > 1:
        report.facts |= {"file": str(path), "showers": first, "shards": len(files)}
    describe_energies(report, energies, geometry)
    _check_tools(report, files[0])
    scan.describe(report)
    return report


def _describe_header(report: Report, file: ShowerFile, geometry: Geometry) -> None:
    report.facts |= {
        "file": str(file.path),
        "geometry": geometry.name,
        "readout cut [MeV]": geometry.threshold,
        "showers": len(file),
        "voxels": file.n_voxels,
        "number type": file.dtype,
        "compression": file.compression or "none",
        "rows x columns of a chunk": "contiguous"
        if file.chunks is None
        else " x ".join(str(length) for length in file.chunks),
    }


def _check_tools(report: Report, file: ShowerFile) -> None:
    """What the challenge's own readers ask for beyond what we do."""
    if file.energies_shape != (len(file), 1):
        report.warnings.append(
            f"incident_energies has shape {file.energies_shape}; the challenge's tools want "
            f"({len(file)}, 1)"
        )
    if file.plugins:
        report.warnings.append(
            f"{', '.join(file.plugins)} needs a plugin that the challenge's tools lack"
        )
