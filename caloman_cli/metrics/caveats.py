"""What a reader must know of two sets of showers before quoting a score of them."""

import hashlib
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from caloman_cli.data.showers import Showers
from caloman_cli.data.sources import Dataset


def is_toy(showers: Showers) -> bool:
    """Whether a file says of itself that the built-in generator made it."""
    for path in showers.paths:
        with h5py.File(path, "r") as file:
            if "built-in" in str(file.attrs.get("generator", "")):
                return True
    return False


def energy_note(reference: Showers, generated: Showers) -> str | None:
    """What it means that the incident energies of two sets differ, or None where they agree."""
    ours, theirs = generated.energies[:, 0], reference.energies[:, 0]
    if len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=1e-6, atol=0):
        return None
    if len(ours) != len(theirs):
        return (
            f"{len(ours):,} generated showers stand against {len(theirs):,} of the reference, so "
            "their incident energies are not the same list: visible and layer energies and the "
            "classifiers also see that difference. Sample with energies=REFERENCE to avoid it."
        )
    if np.allclose(np.sort(ours), np.sort(theirs), rtol=1e-6, atol=0):
        return (
            "The generated showers have the reference's incident energies in another order: "
            "no score here depends on the order, but row by row the files do not belong together."
        )
    return (
        "The incident energies of the generated showers are not those of the reference: visible "
        "and layer energies and the classifiers also see that difference. Sample with "
        "energies=REFERENCE to avoid it."
    )


def reference_notes(dataset: Dataset, reference: Showers) -> list[str]:
    """What the reference is and whether published numbers may stand beside these."""
    if is_toy(reference):
        return [
            f"The reference is built-in parametrised showers, not Geant4 ({len(reference):,} of "
            f"{reference.geometry.name}): the scores say how well the model learned those and are "
            "not comparable with published challenge numbers."
        ]
    if is_official(dataset, reference):
        return []
    return [
        f"Not comparable with published challenge numbers: the reference is "
        f"{', '.join(path.name for path in reference.paths)} ({len(reference):,} showers), not "
        "the official file."
    ]


def is_official(dataset: Dataset, reference: Showers) -> bool:
    """Whether the reference is the official one, told by names first, then by checksums."""
    if dataset.official is None:
        return False
    expected = {file.name: file.md5 for file in dataset.official["reference"]}
    if sorted(path.name for path in reference.paths) != sorted(expected):
        return False
    return all(
        _md5(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns) == expected[path.name]
        for path in reference.paths
    )


@cache
def _md5(path: Path, size: int, changed: int) -> str:
    """Checksum of a file, computed once for each state of it."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return found.hexdigest()
