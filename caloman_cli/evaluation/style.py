"""One look for every figure: Geant4 filled grey, the model a coloured line, real showers dashed.

The colours are Okabe and Ito's, told apart with every common colour blindness and in print.

References:
    Okabe, Ito (2008), Color universal design.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from caloman_cli.data.files import replacing

REFERENCE = "#c4c4c4"  # fill
REFERENCE_EDGE = "#7a7a7a"
GENERATED = "#d55e00"  # vermilion
TRUTH = "#0072b2"  # blue
SECOND = "#009e73"  # bluish green

MAPPING = "viridis"
DIVERGING = "PuOr"
EMPTY = "#ececec"

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
    "savefig.dpi": 150.0,
    "figure.dpi": 150.0,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
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


def numbered(stem: str, caption: str, page: int, pages: int) -> tuple[str, str]:
    """File stem and caption of one of several pages, as they are where there is but one."""
    return (stem, caption) if pages == 1 else (f"{stem}_{page}", f"{caption}, page {page}")


def save(image: Figure, path: Path) -> Path:
    """Write a PNG atomically; the figure is of no use afterwards."""
    with replacing(path) as part, house_style():
        image.savefig(part, format="png")
    image.clear()
    return path
