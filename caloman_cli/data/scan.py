"""One pass over showers: what is in them, and which rules most of them break."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import unit_suspicion
from caloman_cli.data.symmetry import Departure, SliceShares

_CUTS = np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])  # [MeV]
_ENOUGH = 10**7  # lit voxels that tell what a cut costs
_MOST = 0.9  # a rule that so many showers break is broken by the file
_SMALLEST = float(np.finfo(np.float32).tiny)  # [MeV]
_LEAST_RESPONSE = 1e-3  # visible over incident energy, below which one of both is in GeV


@dataclass
class Report:
    """What showers hold, in plain types.

    Args:
        facts: Name -> number, text or a mapping of such; energies in MeV.
        errors: Why they cannot be used at all.
        faults: Rule (``empty``, ``response``, ``units``, ``copies``) -> how most showers break it.
        warnings: What may be a mistake.
        asymmetric: Layers that are not symmetric about the axis, the clearest first; no mistake.
    """

    facts: dict[str, object] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    asymmetric: list[Departure] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``ok``, ``ok, with 2 warnings``, or ``not ok: ...``."""
        wrong = [*self.errors, *self.faults.values()]
        if wrong:
            return f"not ok: {'; '.join(wrong)}"
        n = len(self.warnings)
        return f"ok, with {n} warning{'s' if n > 1 else ''}" if n else "ok"

    def judge(self, rule: str, share: float, text: str) -> None:
        """Note a broken rule: a fault where most showers break it, else a warning."""
        if share >= _MOST:
            self.faults[rule] = text
        elif share > 0:
            self.warnings.append(text)

    def to_dict(self) -> dict[str, object]:
        return {
            "verdict": self.verdict,
            "facts": self.facts,
            "errors": self.errors,
            "faults": self.faults,
            "warnings": self.warnings,
        }

    def table(self) -> str:
        """The report as text, one fact per line, the verdict at the end."""
        lines = []
        for name, value in self.facts.items():
            if not isinstance(value, dict):
                lines.append(f"{name:<34} {_shown(value)}")
                continue
            lines.append(name)
            lines += [f"  {key:<32} {_shown(item)}" for key, item in value.items()]
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"error: {text}" for text in [*self.errors, *self.faults.values()]]
        if self.verdict == "ok":
            lines.append("ok: can be trained on, scored and read by the challenge's tools")
        else:
            lines.append(self.verdict)
        return "\n".join(lines)


def scan_array(energies: np.ndarray, voxels: np.ndarray, geometry: Geometry, rows: int) -> Report:
    """Look through showers in memory, or in a memory map.

    Args:
        energies: Incident energies [MeV], shape (N, 1).
        voxels: Voxel energies [MeV], float32, shape (N, V).
        geometry: Where the voxels are.
        rows: How many to look at at a time.
    """
    report, scan = Report(), Scan(energies, geometry)
    for start in range(0, len(voxels), rows):
        scan.add(np.asarray(voxels[start : start + rows]), start)
    describe_energies(report, energies, geometry)
    scan.describe(report)
    return report


def describe_energies(report: Report, energies: np.ndarray, geometry: Geometry) -> None:
    """Add what the incident energies [MeV], shape (N, 1), say of themselves."""
    values = energies[:, 0]
    if geometry.incident_energies is not None:
        levels, counts = np.unique(values, return_counts=True)
        # A spectrum that is not discrete would list every shower.
        if len(levels) <= 4 * len(geometry.incident_energies):
            report.facts["showers per incident energy [MeV]"] = {
                f"{level:.10g}": int(count) for level, count in zip(levels, counts, strict=True)
            }
        foreign = int((~np.isin(values, geometry.incident_energies)).sum())
        if foreign:
            report.warnings.append(
                f"{foreign} incident energies are not among those of {geometry.name}"
            )
    report.facts["incident energy [MeV]"] = {
        "smallest": float(values.min()),
        "largest": float(values.max()),
    }
    if geometry.incident_range is not None:
        low, high = geometry.incident_range
        outside = int(((values < 0.999 * low) | (values > 1.001 * high)).sum())
        if outside:
            report.warnings.append(
                f"{outside} incident energies lie outside {low:g} to {high:g} MeV"
            )
    if suspicion := unit_suspicion(energies, geometry):
        report.judge("units", 1.0, suspicion)


class Scan:
    """Sums over the voxels of one pass.

    Args:
        energies: Incident energies [MeV], shape (N, 1).
        geometry: Where the voxels are.
    """

    def __init__(self, energies: np.ndarray, geometry: Geometry) -> None:
        n = len(energies)
        self.geometry = geometry
        self.energies = energies[:, 0]
        self.visible = np.zeros(n)
        self.hashes = np.zeros(n, np.uint64)
        self.hit = np.zeros(n, bool)  # anything above the readout cut
        self.empty = np.zeros(geometry.n_layers, np.int64)
        self.shares = SliceShares(geometry)
        self.zeros = self.below = 0
        self.smallest, self.largest = np.inf, 0.0
        # Lit voxels, and their energy [MeV], below each of _CUTS; the last entry has all others.
        self.lit = np.zeros(len(_CUTS) + 1)
        self.energy = np.zeros(len(_CUTS) + 1)
        self.bad = {"NaN": 0, "infinite": 0, "negative": 0}
        self.first_bad: dict[str, int] = {}

    def add(self, block: np.ndarray, start: int) -> None:
        """Take rows (B, V) float32 [MeV], the first of which is row ``start``."""
        part = slice(start, start + len(block))
        if not (block.min() >= 0 and block.max() < np.inf):
            block = self._without_bad(block, start)
        cut = block >= max(self.geometry.threshold, _SMALLEST)  # nothing is no hit, cut or not
        self.zeros += int((block == 0).sum())
        self.below += int((~cut).sum())
        positive = block[block > 0]
        if positive.size:
            self.smallest = min(self.smallest, float(positive.min()))
            self.largest = max(self.largest, float(positive.max()))
            if self.lit.sum() < _ENOUGH:
                place = np.searchsorted(_CUTS, positive[:_ENOUGH], side="right")
                self.lit += np.bincount(place, minlength=len(self.lit))
                self.energy += np.bincount(place, positive[:_ENOUGH], minlength=len(self.lit))
        self.visible[part] = block.sum(1, dtype=np.float64)
        self.hit[part] = cut.any(1)
        self.empty += [int((~cut[:, layer].any(1)).sum()) for layer in self.geometry.slices]
        self.shares.add(block)
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
        """Add what the pass has found."""
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
            **self._costs(),
            "showers with an empty layer": {
                f"layer {layer.id}": float(count / n)
                for layer, count in zip(self.geometry.layers, self.empty, strict=True)
            },
            **self._symmetry(report),
            "empty showers": empty_showers,
            "exact copies of another shower": copies,
        }
        for kind, count in self.bad.items():
            if count:
                report.errors.append(
                    f"{count} voxels are {kind}, first in row {self.first_bad[kind]}"
                )
        report.judge(
            "empty",
            empty_showers / n,
            f"{empty_showers} of {n} showers have nothing above the readout cut",
        )
        report.judge("copies", copies / n, f"{copies} of {n} showers are exact copies of others")
        self._judge_response(report, ratio[self.hit])

    def _symmetry(self, report: Report) -> dict[str, object]:
        departures = self.shares.departures()
        seen = [departure for departure in departures if departure.seen]
        report.asymmetric = sorted(seen, key=lambda departure: -departure.errors)
        if not departures:
            return {}
        name = "layers not symmetric about the axis"
        if not seen:
            return {name: f"none of {len(departures)}"}
        return {name: {f"layer {departure.layer}": str(departure) for departure in seen}}

    def _costs(self) -> dict[str, dict[str, float]]:
        """What a readout cut would take away, for cuts between the smallest and largest voxel."""
        of_all = [np.cumsum(counts)[:-1] / max(counts.sum(), 1e-30) for counts in
                  (self.lit, self.energy)]  # fmt: skip
        telling = [i for i, cut in enumerate(_CUTS) if self.smallest < cut < self.largest]
        names = "share of lit voxels below [MeV]", "share of the energy in voxels below [MeV]"
        return {
            name: {f"{_CUTS[i]:g}": float(shares[i]) for i in telling}
            for name, shares in zip(names, of_all, strict=True)
            if telling
        }

    def _judge_response(self, report: Report, ratio: np.ndarray) -> None:
        """Visible over incident energy of the showers that are not empty, shape (M,)."""
        if not len(ratio):
            return
        allowed = self.geometry.max_response
        report.judge(
            "response",
            float((ratio > allowed).mean()),
            f"visible over incident energy is {np.median(ratio):.3g} in the median and reaches "
            f"{ratio.max():.3g}, the geometry allows {allowed:g} (incident energies in GeV, or "
            "raise dataset.geometry.max_response)",
        )
        if np.median(ratio) < _LEAST_RESPONSE:
            said = f"visible over incident energy is {np.median(ratio):.3g} in the median"
            report.judge("units", 1.0, f"{said}: voxels in GeV, they must be MeV")


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
