"""Look through a file of showers and report everything that is odd, not only the first."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.hdf5 import ShowerFile
from caloman_cli.data.showers import block_rows, unit_suspicion
from caloman_cli.errors import UserError


@dataclass
class Report:
    """What a file holds, in plain types.

    Args:
        facts: Name -> number, text or a mapping of such; energies in MeV.
        errors: Why the file cannot be used.
        warnings: What may be a mistake.
    """

    facts: dict[str, object] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        return {"facts": self.facts, "errors": self.errors, "warnings": self.warnings}

    def table(self) -> str:
        """The report as text, one fact per line."""
        lines = []
        for name, value in self.facts.items():
            if not isinstance(value, dict):
                lines.append(f"{name:<34} {_shown(value)}")
                continue
            lines.append(name)
            lines += [f"  {key:<32} {_shown(item)}" for key, item in value.items()]
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"error: {text}" for text in self.errors]
        if not self.errors:
            lines.append(
                "ok: the file can be trained on, scored and read by the challenge's tools"
            )
        return "\n".join(lines)


def check_file(path: Path, geometry: Geometry, chunk: int | None = None) -> Report:
    """Read a file once, in blocks.

    Args:
        path: The file.
        geometry: What it should hold.
        chunk: Rows per block; None takes as many as fit in 64 MiB.

    Returns:
        The report; a file whose header is not usable has one error and no facts.
    """
    report = Report()
    try:
        file = ShowerFile.open(path, geometry)
        scan = _Scan(file, geometry)
        rows = block_rows(geometry.n_voxels) if chunk is None else chunk
        with file.reader() as reader:
            for start in range(0, len(file), rows):
                block = np.empty((min(rows, len(file) - start), file.n_voxels), np.float32)
                reader.read_into(block, start)
                scan.add(block, start)
    except UserError as error:
        report.errors.append(str(error))
        return report
    _describe_header(report, file, geometry)
    scan.describe(report)
    return report


class _Scan:
    """Sums over the voxels of one pass."""

    def __init__(self, file: ShowerFile, geometry: Geometry) -> None:
        n = len(file)
        self.geometry = geometry
        self.energies = file.energies[:, 0]
        self.visible = np.zeros(n)
        self.hashes = np.zeros(n, np.uint64)
        self.hit = np.zeros(n, bool)  # anything above the readout cut
        self.empty = np.zeros(geometry.n_layers, np.int64)
        self.zeros = self.below = 0
        self.smallest, self.largest = np.inf, 0.0
        self.bad = {"NaN": 0, "infinite": 0, "negative": 0}
        self.first_bad: dict[str, int] = {}

    def add(self, block: np.ndarray, start: int) -> None:
        """Take rows (B, V) float32 [MeV], the first of which is row ``start``."""
        part = slice(start, start + len(block))
        if not (block.min() >= 0 and block.max() < np.inf):
            block = self._without_bad(block, start)
        cut = block >= self.geometry.threshold
        self.zeros += int((block == 0).sum())
        self.below += int((~cut).sum())
        positive = block[block > 0]
        if positive.size:
            self.smallest = min(self.smallest, float(positive.min()))
            self.largest = max(self.largest, float(positive.max()))
        self.visible[part] = block.sum(1, dtype=np.float64)
        self.hit[part] = cut.any(1)
        self.empty += [int((~cut[:, layer].any(1)).sum()) for layer in self.geometry.slices]
        for row, shower in enumerate(block, start):
            digest = hashlib.blake2b(shower.data, digest_size=8).digest()
            self.hashes[row] = int.from_bytes(digest, "little")

    def _without_bad(self, block: np.ndarray, start: int) -> np.ndarray:
        masks = {"NaN": np.isnan(block), "infinite": np.isinf(block), "negative": block < 0}
        for kind, mask in masks.items():
            self.bad[kind] += int(mask.sum())
            if mask.any() and kind not in self.first_bad:
                self.first_bad[kind] = start + int(np.argmax(mask.any(1)))
        return np.where(masks["NaN"] | masks["infinite"] | masks["negative"], np.float32(0), block)

    def describe(self, report: Report) -> None:
        n, size = len(self.energies), len(self.energies) * self.geometry.n_voxels
        ratio = self.visible / self.energies
        empty_showers = int((~self.hit).sum())
        hashes = self.hashes[self.hit]
        copies = len(hashes) - len(np.unique(hashes))
        report.facts |= {
            "zero voxels": self.zeros / size,
            "zero voxels after the readout cut": self.below / size,
            "smallest voxel above zero [MeV]": None if np.isinf(self.smallest) else self.smallest,
            "largest voxel [MeV]": self.largest,
            "visible over incident energy": {
                "mean": float(ratio.mean()),
                "smallest": float(ratio.min()),
                "largest": float(ratio.max()),
            },
            "showers with an empty layer": {
                f"layer {layer.id}": float(count / n)
                for layer, count in zip(self.geometry.layers, self.empty, strict=True)
            },
            "empty showers": empty_showers,
            "exact copies of another shower": copies,
        }
        for kind, count in self.bad.items():
            if count:
                report.errors.append(
                    f"{count} voxels are {kind}, first in row {self.first_bad[kind]}"
                )
        if empty_showers:
            report.warnings.append(f"{empty_showers} showers have nothing above the readout cut")
        if copies:
            report.warnings.append(f"{copies} showers are exact copies of another one")
        if ratio.max() > self.geometry.max_response:
            report.warnings.append(
                f"visible over incident energy reaches {ratio.max():.3g}, the geometry allows "
                f"{self.geometry.max_response:g} (in GeV by mistake, or raise "
                "dataset.geometry.max_response)"
            )
        elif 0 < np.median(ratio) < 1e-3:
            report.warnings.append(
                f"visible over incident energy is {np.median(ratio):.3g}: voxels in GeV?"
            )


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
    energies = file.energies[:, 0]
    if geometry.incident_energies is not None:
        values, counts = np.unique(energies, return_counts=True)
        # A spectrum that is not discrete would list every shower.
        if len(values) <= 4 * len(geometry.incident_energies):
            report.facts["showers per incident energy [MeV]"] = {
                f"{value:.10g}": int(count) for value, count in zip(values, counts, strict=True)
            }
        foreign = int((~np.isin(energies, geometry.incident_energies)).sum())
        if foreign:
            report.warnings.append(
                f"{foreign} incident energies are not among those of {geometry.name}"
            )
    report.facts["incident energy [MeV]"] = {
        "smallest": float(energies.min()),
        "largest": float(energies.max()),
    }
    if geometry.incident_range is not None:
        low, high = geometry.incident_range
        outside = int(((energies < 0.999 * low) | (energies > 1.001 * high)).sum())
        if outside:
            report.warnings.append(
                f"{outside} incident energies lie outside {low:g} to {high:g} MeV"
            )
    if suspicion := unit_suspicion(file.energies, geometry):
        report.warnings.append(suspicion)
    _check_tools(report, file)


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


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
