"""One look for every figure: reference filled grey, model a coloured line, real showers dashed.

The colours are Okabe and Ito's, told apart with every common colour blindness and in print.

References:
    Okabe, Ito (2008), Color universal design.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from caloman_cli.config.figures import Format
from caloman_cli.data.files import replacing
from caloman_cli.evaluation.ticks import make_readable

REFERENCE = "#c4c4c4"  # fill
REFERENCE_EDGE = "#7a7a7a"
GENERATED = "#d55e00"  # vermilion
TRUTH = "#0072b2"  # blue
SECOND = "#009e73"  # bluish green

MAPPING = "viridis"
DIVERGING = "PuOr"
EMPTY = "#ececec"

DPI = 150

_SETTINGS: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib settings for the figures made inside; the user's own come back after it."""
    with mpl.rc_context(_SETTINGS):
        yield


def colour_map(name: str) -> Colormap:
    """A colour map whose missing cells are light grey."""
    return mpl.colormaps[name].with_extremes(bad=EMPTY)


def figure(width: float, height: float, layout: Literal["constrained"] | None) -> Figure:
    """An empty figure [inches] that needs no display and no global state."""
    image = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(image)
    return image


def from_zero(ax: Axes) -> None:
    """Let the axis of values begin at 0 and end above the largest, however little they vary."""
    ax.set_ylim(0, 1.05 * float(ax.dataLim.y1) if ax.dataLim.y1 > 0 else 1.0)


def numbered(stem: str, caption: str, page: int, pages: int) -> tuple[str, str]:
    """File stem and caption of one of several pages, as they are where there is but one."""
    return (stem, caption) if pages == 1 else (f"{stem}_{page}", f"{caption}, page {page}")


def save(image: Figure, path: Path, formats: Iterable[Format] = (), dpi: int = DPI) -> Path:
    """Write a PNG atomically, and further formats beside it; the figure is of no use afterwards.

    Args:
        image: The figure.
        path: Of the PNG, ``NAME.png``.
        formats: Others are ``NAME.pdf`` and so on.
        dpi: Points per inch of what is made of pixels.

    Returns:
        The PNG's path.
    """
    make_readable(image)
    for kind in dict.fromkeys(("png", *formats)):
        _write(image, path.with_suffix(f".{kind}"), dpi)
    image.clear()
    return path


def save_as(image: Figure, path: Path) -> None:
    """Write one file atomically, in the format that its suffix says; the figure is used up."""
    make_readable(image)
    _write(image, path, DPI)
    image.clear()


def _write(image: Figure, path: Path, dpi: int) -> None:
    with replacing(path) as part, house_style():
        image.savefig(part, format=path.suffix[1:].lower(), dpi=dpi)
