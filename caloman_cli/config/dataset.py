"""What the group ``dataset`` says: a detector, and where its showers come from.

Ranges stand here once: for the config, and for what a model file says of its detector.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen, doc

from caloman_cli.config.values import Count, NotNegative, Positive, Seed, Share, form

Energies = Annotated[list[Positive], MinLen(1)]
Particle = Annotated[str, form(r"[\w.+*-]+"), doc("a particle's name: muon, kaon, pi+, K0L")]
MD5 = Annotated[str, form(r"[0-9a-f]{32}"), doc("32 hexadecimal digits")]


@dataclass
class Detector:
    """Facts of a detector; the layers may come from a binning file instead.

    Args:
        name: Name of its binning, e.g. ``ds1_photons``.
        particle: The incident particle, any name; null: the only one of the binning file.
        threshold: Readout cut [MeV].
        max_response: Upper bound of the visible energy over the incident energy.
        incident_energies: Discrete incident energies [MeV], or null.
        incident_weights: Relative frequency of each discrete energy, or null.
        incident_range: (lowest, highest) [MeV] of a log-uniform spectrum, or null.
        layers: See :func:`caloman_cli.data.geometry.layers_alike`.
    """

    name: str
    particle: Particle | None
    threshold: NotNegative
    max_response: Positive
    incident_energies: Energies | None
    incident_weights: Energies | None
    incident_range: tuple[Positive, Positive] | None
    layers: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class PublicFile:
    """A file of a public data record.

    Args:
        name: Its name there and here.
        md5: Its checksum.
    """

    name: str
    md5: MD5


@dataclass
class PublicRecord:
    """The public record of an official dataset.

    Args:
        doi: Identifier to cite.
        record: Its number there.
        train: Files to learn from.
        reference: Files to compare with.
    """

    doi: str
    record: Count
    train: list[PublicFile]
    reference: list[PublicFile]


@dataclass(frozen=True)
class Builtin:
    """How many showers the built-in generator makes for each role, and from which seed."""

    n_train: Count
    n_reference: Count
    seed: Seed


@dataclass
class DatasetSettings:
    """The group ``dataset``.

    Args:
        name: The name of the configuration option.
        geometry: The detector.
        train, reference: The user's files, or null.
        files: The public record, or null.
        builtin: What the built-in generator makes, or null.
        validation_fraction: Share of the training showers that validate.
        geometry_xml: A binning file that replaces the layers, or null.
        limit: At most so many showers are learned from, and scored; null: all.
    """

    name: str
    geometry: Detector
    train: list[Path] | None
    reference: list[Path] | None
    files: PublicRecord | None
    builtin: Builtin | None
    validation_fraction: Share
    geometry_xml: Path | None
    limit: Count | None = None  # runs before there was one say nothing of it
