"""How pictures are written and what showers are called in them."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen, doc

Format = Literal["png", "pdf", "svg"]
Formats = Annotated[
    list[Format], MinLen(1), doc("a list of formats, of png, pdf and svg: [png,pdf]")
]
Dpi = Annotated[int, Ge(30), Le(1200)]


@dataclass
class Labels:
    """Names of showers in legends and titles; None: what is known of them."""

    reference: str | None = None
    truth: str | None = None
    model: str | None = None


@dataclass
class FigureSettings:
    """The keys ``figures`` of ``evaluate``.

    Args:
        format: Formats of every picture. A PNG is always among them: reports show it.
        dpi: Points per inch of a PNG, and of the images within a PDF or SVG.
        labels: Names in legends.
    """

    format: Formats = field(default_factory=lambda: ["png"])
    dpi: Dpi = 150
    labels: Labels = field(default_factory=Labels)


@dataclass
class ReportLabels:
    """Names of the showers that judge; runs have their own names."""

    reference: str | None = None
    truth: str | None = None


@dataclass
class ReportFigures:
    """The keys ``figures`` of ``report``, as those of :class:`FigureSettings`."""

    format: Formats = field(default_factory=lambda: ["png"])
    dpi: Dpi = 150
    labels: ReportLabels = field(default_factory=ReportLabels)
