"""The truth row: what a metric says of real showers that it compares with real showers.

A number alone says little: every metric of finite samples has a floor. So each stands beside the
same metric of an independent real sample.
"""

import logging
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.features import Features

log = logging.getLogger(__name__)

OFFICIAL_PIONS_NOTE = (
    "The two official files of dataset 1 pions come from different productions: Geant4 against "
    "Geant4 scores a published AUC of 0.609 (low-level) and 0.558 (high-level), arXiv:2410.21611. "
    "A model that reproduces the training file perfectly gets these, not 0.5."
)
SAME_SPECTRUM = 1e-6  # p-value under which two files have different incident energies


@dataclass(frozen=True)
class TruthPair:
    """Two independent sets of real showers.

    Args:
        reference: In the place of the reference.
        sample: In the place of the generated showers.
        label: What they are, for tables.
        halves: Whether both are of the reference.
    """

    reference: Showers
    sample: Showers
    label: str
    halves: bool = False

    @property
    def note(self) -> str:
        """What its numbers have to say of themselves in a table; empty for independent files."""
        return "truth: halves of the reference" if self.halves else ""

    def stands_for(self, reference: Showers, generated: Showers) -> bool:
        """Whether as many showers are compared as when the generated ones are judged."""
        return (len(self.reference), len(self.sample)) == (len(reference), len(generated))


def asked_truth(reference: Showers, n: int, given: Showers) -> TruthPair:
    """The truth row of ``truth=FILE``.

    Args:
        reference: The real showers that judge the generated ones.
        n: How many showers are judged.
        given: The file's showers.

    Raises:
        UserError: They cannot serve as an independent sample of the reference's showers.
    """
    problem = _unfit(reference, given)
    if problem is not None:
        raise UserError(
            f"truth={', '.join(map(str, given.paths)) or given.name}: {problem}; give independent "
            "real showers with the reference's spectrum of incident energies, or leave truth= out"
        )
    return _independent(reference, n, given)


def truth_pair(reference: Showers, n: int, train: Showers | None = None) -> TruthPair:
    """Choose the real showers of the truth row.

    The training file's showers against the whole reference, where the two files differ and have
    one spectrum of incident energies; else one half of the reference against the other. Rows are
    spread evenly over a file, which may be sorted by energy.

    Args:
        reference: The real showers that judge the generated ones.
        n: How many showers are judged.
        train: Real showers of the same production that are not in the reference, where known.

    Raises:
        UserError: The reference is too small to be halved.
    """
    if train is not None:
        problem = _unfit(reference, train)
        if problem is None:
            return _independent(reference, n, train)
        log.info("no truth= given: halves of the reference, since of %s %s", train.name, problem)
    else:
        log.info("no truth= given: halves of the reference")
    if len(reference) < 2:
        raise UserError(
            f"{reference.name} has {len(reference)} showers: the truth row needs two or more"
        )
    even = reference.subset(np.arange(0, len(reference), 2), f"{reference.name}, even rows")
    odd = reference.subset(np.arange(1, len(reference), 2), f"{reference.name}, odd rows")
    sample = spread(odd, n)
    label = (
        f"truth: no truth= given, halves of the reference: {len(even)} even against {len(sample)} "
        f"odd rows of {reference.name} (real)"
    )
    return TruthPair(even, sample, label, halves=True)


def _independent(reference: Showers, n: int, other: Showers) -> TruthPair:
    sample = spread(other, n)
    label = f"truth: {len(sample)} showers of {other.name} (real, independent)"
    return TruthPair(reference, sample, label)


def spread(showers: Showers, n: int) -> Showers:
    """At most n showers, spread evenly over all."""
    if len(showers) <= n:
        return showers
    return showers.subset(np.arange(n) * len(showers) // n)


def truth_note(reference: Showers) -> str | None:
    """What a reader must know of this reference's truth, or None."""
    return OFFICIAL_PIONS_NOTE if reference.geometry.name == "ds1_pions" else None


def shared_showers(first: Features, second: Features) -> int:
    """How many showers of ``second`` are in ``first`` as well, told by their energies.

    Compared are incident energy, visible energy and the layers' energies, all exactly; showers
    that deposit nothing do not count.
    """

    def keys(features: Features) -> set[bytes]:
        rows = np.column_stack([features.e_inc, features["E_tot"], features.group("E_layer")])
        return {row.tobytes() for row in rows[features["E_tot"] > 0]}

    return len(keys(first) & keys(second))


def _unfit(reference: Showers, train: Showers) -> str | None:
    """Why the training file cannot serve as an independent sample, or None."""
    if train.geometry.n_voxels != reference.geometry.n_voxels:
        return "the voxels are others"
    common = {path.resolve() for path in train.paths} & {
        path.resolve() for path in reference.paths
    }
    if common or train.fingerprint == reference.fingerprint:
        return "the showers are the reference's own"
    energies = np.log(train.energies[:, 0]), np.log(reference.energies[:, 0])
    if ks_2samp(*energies).pvalue < SAME_SPECTRUM:
        return "the incident energies have another spectrum"
    return None
