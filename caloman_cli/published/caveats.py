"""What a reader must know of two sets of showers before quoting a score of them."""

import h5py
import numpy as np

from caloman_cli.data.showers import Showers


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
    if same_energies(reference, generated):
        return (
            "The generated showers have the reference's incident energies in another order: "
            "no score here depends on the order, but row by row the files do not belong together."
        )
    return (
        "The incident energies of the generated showers are not those of the reference: visible "
        "and layer energies and the classifiers also see that difference. Sample with "
        "energies=REFERENCE to avoid it."
    )


def same_energies(reference: Showers, generated: Showers) -> bool:
    """Whether two sets have the same incident energies, in whatever order."""
    ours, theirs = generated.energies[:, 0], reference.energies[:, 0]
    return len(ours) == len(theirs) and np.allclose(
        np.sort(ours), np.sort(theirs), rtol=1e-6, atol=0
    )


def reference_notes(reference: Showers, *, published: bool, official: bool) -> list[str]:
    """What the reference is and whether published numbers may stand beside these.

    Args:
        reference: The showers that judge.
        published: Whether there are published numbers for this detector.
        official: Whether the reference is the one that they are against.
    """
    if is_toy(reference):
        note = (
            f"The reference is built-in parametrised showers, not Geant4 ({len(reference):,} of "
            f"{reference.geometry.name}): the scores say how well the model learned those"
        )
        tail = " and are not comparable with published challenge numbers" if published else ""
        return [f"{note}{tail}."]
    if official or not published:
        return []
    return [
        f"Not comparable with published challenge numbers: the reference is "
        f"{', '.join(path.name for path in reference.paths)} ({len(reference):,} showers), not "
        "the official file."
    ]
