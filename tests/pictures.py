"""What one sees at a glance of a figure: words that are cut, or that lie on each other."""

from itertools import combinations
from unittest.mock import patch

from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from caloman_cli.evaluation.style import house_style
from caloman_cli.evaluation.ticks import make_readable

LONG = (
    "Geant4 of the test beam in June 2026 at H4",
    "outputs/train/ds2/vae_cylinder-nsf_wide/2026-12-01_10-22-31",
)
_SLACK = 3  # pixels, of the room around letters


def boxes(image: Figure) -> list[tuple[str, Bbox]]:
    """Words of a figure as it is saved, and where they are [pixels]."""
    found, draw = [], Text.draw

    def noted(text: Text, renderer: RendererBase) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer)

    make_readable(image)
    with house_style(), patch.object(Text, "draw", noted):
        image.canvas.draw()
    return found


def cut(image: Figure) -> list[str]:
    """Words that leave the figure."""
    whole = image.bbox.padded(_SLACK)
    return [
        words for words, box in boxes(image)
        if not (whole.contains(*box.min) and whole.contains(*box.max))
    ]  # fmt: skip


def collisions(image: Figure) -> list[tuple[str, str]]:
    """Words that lie on each other."""
    small = [(words, box.padded(-_SLACK)) for words, box in boxes(image)]
    return [(one, two) for (one, a), (two, b) in combinations(small, 2) if a.overlaps(b)]
