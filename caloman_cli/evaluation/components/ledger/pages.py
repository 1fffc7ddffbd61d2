"""The tables and the figure of a ledger."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caloman_cli.evaluation.carried import Carried
from caloman_cli.evaluation.components.ledger.rivals import JUDGES, WORDS, Said
from caloman_cli.evaluation.names import words_above
from caloman_cli.evaluation.style import (
    EMPTY,
    GENERATED,
    REFERENCE_EDGE,
    TRUTH,
    figure,
    house_style,
)
from caloman_cli.metrics.histograms import GROUPS
from caloman_cli.metrics.ledger import Explained, code_bits
from caloman_cli.metrics.observables import Observable
from caloman_cli.metrics.score import Grid, with_spread

Found = Mapping[str, Explained | None]
ASKED_R2, ASKED_LOSS = 0.7, 0.10
"""What is asked of axis, tilt and depth, and of the trees' AUC without latents less with them."""
ASKED_OF = ("axis", "tilt", "depth_of_maximum")
GIVEN = "by definition: a function of the layers' energies"


def explained_grid(targets: Sequence[Observable], found: Found) -> Grid:
    """A line for each observable: R^2 from the energies alone, with latents, and the gain."""
    known = [(target, found[target.name]) for target in targets]
    alone = any(each is not None and len(each.values) > 2 for _, each in known)
    heads = ["observable", "energies alone", "energies and latents", "added by latents"]
    heads += ["energies and learned latents"] if alone else []
    rows = []
    for target, each in known:
        cells = ["–"] * (len(heads) - 1)
        if each is not None:
            values = [with_spread(float(v), float(e) or None)
                      for v, e in zip(each.values, each.errors, strict=True)]  # fmt: skip
            gain = with_spread(float(each.gains[1]), float(each.gain_errors[1]) or None)
            cells = [*values[:2], gain, *values[2:]]
        note = "does not vary" if each is None else GIVEN if target.given else ""
        if target.by_layer and each is not None:
            note = "; ".join(filter(None, ["mean over layers", note]))
        rows.append([target.words, *cells, note])
    return Grid([*heads, "note"], rows, range(1, len(heads)))


def rivals_grid(said: Said) -> Grid:
    """A line for each score, a column for each set of showers."""
    lines = {f"AUC {JUDGES[judge]}": (found, 1) for judge, found in said.aucs.items()}
    lines["FPD × 10³"] = said.fpd, 1000
    for group, found in said.separation.items():
        lines[f"S × 10³, {GROUPS[group].split(' [')[0]}"] = found, 1000
    rows = [
        [label, *(
            with_spread(found[rival].value * scale, found[rival].error * scale)
            if rival in found else "–"
            for rival in said.fpd
        )]
        for label, (found, scale) in lines.items()
    ]  # fmt: skip
    return Grid(
        ["score", *(WORDS[rival] for rival in said.fpd)], rows, range(1, 1 + len(said.fpd))
    )


def ledger_figure(
    targets: Sequence[Observable], found: Found, rows: Carried, labels: tuple[str, str]
) -> Figure:
    """R^2 of observables, and what each latent carries where that is known.

    Args:
        targets: The observables.
        found: How well each of them is explained.
        rows: What latents carry.
        labels: What the showers and the model are called.
    """
    known = [(target, each) for target in targets if (each := found[target.name]) is not None]
    each_carries = rows.nats.mean(0) if rows.nats is not None else None
    words = "nats"
    if rows.n_codes is not None:
        each_carries, words = code_bits(rows.z), "bits"
    with house_style():
        image = figure(10.0 if each_carries is not None else 6.0, 3.8, "constrained")
        panels = image.subplots(1, 1 if each_carries is None else 2, squeeze=False).ravel()
        _bars(panels[0], known)
        if each_carries is not None:
            _latents(panels[1], each_carries, rows, words)
        words_above(image, f"{labels[0]}, read from latents of {labels[1]}")
    return image


def _bars(ax: Axes, known: Sequence[tuple[Observable, Explained]]) -> None:
    places = np.arange(len(known))[::-1]
    for index, (shift, colour, label) in enumerate(
        ((0.2, REFERENCE_EDGE, "energies alone"), (-0.2, GENERATED, "energies and latents"))
    ):
        values = np.array([each.values[index] for _, each in known])
        errors = [each.errors[index] for _, each in known]
        ax.barh(
            places + shift, np.clip(values, 0, 1), 0.38, xerr=errors, color=colour, label=label
        )
    ax.axvline(ASKED_R2, color=TRUTH, linestyle="--", linewidth=1.0)
    names = [f"{target.words}{' (mean)' if target.by_layer else ''}" for target, _ in known]
    ax.set_yticks(places, labels=names)
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("R²")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _latents(ax: Axes, carries: np.ndarray, rows: Carried, words: str) -> None:
    places = np.arange(len(carries)) + 1
    colours = np.where(rows.active, GENERATED, EMPTY)
    bars = ax.bar(places, carries, 0.8, color=list(colours), edgecolor=REFERENCE_EDGE)
    for bar in bars.patches[rows.n_learned :]:
        bar.set_hatch("///")
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel("latent")
    ax.set_ylabel(words)
