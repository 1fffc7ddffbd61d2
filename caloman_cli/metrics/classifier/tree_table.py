"""What boosted trees see of showers: the challenge's features and those around the axis."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.metrics import azimuthal, features
from caloman_cli.metrics.azimuthal import KINDS, azimuthal_features
from caloman_cli.metrics.features import LOG_OFFSET, Features, high_level_features

TreeGroup = Literal["challenge", "around_axis", "across_layers"]
GROUPS: tuple[TreeGroup, ...] = get_args(TreeGroup)
CONDITION = "E_inc"
# Digits that are kept [log10 MeV, mm, numbers]: physics counts, not the last digits of a file.
_LOGS, _LENGTHS, _NUMBERS = 3, 3, 4
_WORDS = {
    "E_layer": "log10 energy [MeV]",
    "EC_eta": "centre in eta [mm]",
    "EC_phi": "centre in phi [mm]",
    "width_eta": "width in eta [mm]",
    "width_phi": "width in phi [mm]",
    "EC_r": "centre in r [mm]",
    "width_r": "width in r [mm]",
    "sparsity": "sparsity",
}


@dataclass(frozen=True)
class TreeTable:
    """Features of N showers, rounded, with what each column is.

    Args:
        names: Of the features, as in :mod:`caloman_cli.metrics.features` and
            :mod:`caloman_cli.metrics.azimuthal`; the first is ``E_inc``.
        groups: Of each column; the incident energy, which all groups see, is of the challenge's.
        values: float32, shape (N, F): log10 of energies [MeV], lengths [mm], numbers.
        energies: Incident energies [MeV], not rounded, float64, shape (N,).
    """

    names: tuple[str, ...]
    groups: tuple[TreeGroup, ...]
    values: np.ndarray
    energies: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def columns(self, group: TreeGroup) -> list[int]:
        """The columns of one group, and that of the incident energy."""
        return [
            place
            for place, (name, of) in enumerate(zip(self.names, self.groups, strict=True))
            if of == group or name == CONDITION
        ]

    def present(self) -> list[TreeGroup]:
        """The groups that this detector has."""
        return [group for group in GROUPS if group in self.groups]


def n_features(geometry: Geometry) -> int:
    """How many columns a table of this detector has."""
    # The incident energy and the response stand before the challenge's features.
    return 2 + len(features.feature_names(geometry)) + len(azimuthal.feature_names(geometry))


def tree_table(
    showers: Showers,
    threshold: float | None = None,
    known: Features | None = None,
    rows: np.ndarray | None = None,
) -> TreeTable:
    """All features of some showers.

    Args:
        showers: N showers [MeV], read in chunks.
        threshold: Readout cut [MeV]. None: the geometry's.
        known: High-level features of all of them after this cut, where they are known.
        rows: Rising numbers of the showers that the table is of. None: all.
    """
    cut = showers.geometry.threshold if threshold is None else threshold
    if known is not None and (known.threshold != cut or len(known) != len(showers)):
        raise ValueError(
            f"features of {len(known)} showers cut at {known.threshold} MeV were given for "
            f"{len(showers)} showers to cut at {cut} MeV"
        )
    whole = rows is None or len(rows) == len(showers)
    some = showers if rows is None or whole else showers.subset(rows)
    if known is None:
        columns = _challenge(high_level_features(some, cut))
    else:
        columns = _challenge(known)
        if not whole:
            columns = {name: values[rows] for name, values in columns.items()}
    around = azimuthal_features(some, cut)
    kinds = [KINDS[name.split("/")[0]] for name in around.names]
    digits = np.array([_LENGTHS if kind.unit else _NUMBERS for kind in kinds], int)
    groups: list[TreeGroup] = ["challenge"] * len(columns)
    return TreeTable(
        (*columns, *around.names),
        (*groups, *(kind.group for kind in kinds)),
        np.concatenate([np.stack(list(columns.values()), 1), _rounded(around.values, digits)], 1),
        some.energies[:, 0],
    )


def in_words(name: str) -> str:
    """A feature as axes and tables show it, with its unit."""
    kind, _, layer = name.partition("/")
    if kind in KINDS:
        found = KINDS[kind]
        words = found.words + (f" [{found.unit}]" if found.unit else "")
    else:
        words = {
            CONDITION: "log10 incident energy [MeV]",
            "E_ratio": "visible over incident energy",
            "E_tot": "log10 visible energy [MeV]",
        }.get(kind) or _WORDS[kind]
    return f"layer {layer}: {words}" if layer else words


def _challenge(known: Features) -> dict[str, np.ndarray]:
    """The challenge's features by name, float32, each (N,)."""
    columns = {
        CONDITION: np.log10(known.e_inc).round(_LOGS),
        "E_ratio": (known["E_tot"] / known.e_inc).round(_NUMBERS),
    }
    for name, values in known.values.items():
        if name.startswith("E_"):
            columns[name] = np.log10(values + LOG_OFFSET).round(_LOGS)
        else:
            columns[name] = values.round(_NUMBERS if name.startswith("sparsity") else _LENGTHS)
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _rounded(values: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Columns rounded to as many decimals as ``digits`` says of each."""
    scale = (10.0**digits).astype(np.float32)
    return np.round(values * scale) / scale
