"""log p of real showers under the model, in nats per MeV."""

import math
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caloman_cli.config.values import Count, Several, checked
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.names import words_above
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.score import Score
from caloman_cli.runs.progress import RowsDone

_SECTION = "log-likelihood [nats per shower]"
_BLOCK = 32  # showers at once
_BINS = 6  # of a continuous incident energy
_FEW = 20  # different incident energies that have a line each


class _Found(Protocol):
    layers: Tensor
    log_weights: Tensor
    spread: Tensor

    def voxels(self, draws: int) -> Tensor: ...


class _Model(Protocol):
    """What is asked of a model: the log p of showers, and what kind of number it is."""

    kind: str
    measure: str

    def likelihood(self, voxels: Tensor, e_inc: Tensor, draws: int, seed: int) -> _Found: ...


_TICKS = 6  # numbers of draws below the axis


class _Table(NamedTuple):
    """Of N showers, float64: log p of layers (N,), of voxels by number of draws (N, len(draws)),
    the spread of the log-weights and lit voxels (N,), incident energies (N,) MeV."""

    draws: list[int]
    layers: np.ndarray
    voxels: np.ndarray
    spread: np.ndarray
    lit: np.ndarray
    energies: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.layers + self.voxels[:, -1]


@checked
class Likelihood:
    """Mean of log p(shower | E_inc) over real showers that the model has not seen.

    For models whose posterior has a density it is the importance-weighted bound of ``draws``
    draws, which rises with them; what it is for others, and of which measure it is a density, the
    model says, see :mod:`caloman_cli.models.likelihood`.

    Args:
        draws: K, of latents for each shower.
        max_showers: Of the reference, spread over the file.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "model")

    def __init__(self, draws: Count = 256, max_showers: Several = 500) -> None:
        self.draws, self.max_showers = draws, max_showers

    def __call__(self, comparison: Comparison) -> Section:
        model = cast(_Model, comparison.model)
        showers = spread(comparison.reference, self.max_showers)
        try:
            table = self._table(model, showers, comparison)
        except FloatingPointError as error:
            raise UserError(str(error)) from error
        finite = np.isfinite(table.total)
        if not finite.any():
            raise UserError(
                f"log p is infinite for all {len(finite)} showers: the model's manifold has no "
                "volume there, its latents are more than the directions that showers vary in"
            )
        known = _Table(table.draws, *(column[finite] for column in table[1:]))
        labels = comparison.reference_label, comparison.model_label
        comparison.draw("likelihood", likelihood_figure(known, labels), _caption(known))
        used: dict[str, str | float | None] = {
            "measure": model.measure, "draws": known.draws[-1], "showers": len(finite),
        }  # fmt: skip
        details = {
            "kind": model.kind,
            "draws": _by_draws(known),
            "by incident energy": _by_energy(known),
            # Of two models on the same showers the difference is known better than either mean.
            "showers": [float(p) if math.isfinite(p) else None for p in table.total.round(4)],
        }
        notes = [_note(model, known, int((~finite).sum()))]
        return Section(_scores(known, model.kind), details, notes, conditions=used)

    def _table(self, model: _Model, showers: Showers, comparison: Comparison) -> _Table:
        draws, parts = [self.draws], []
        threshold = showers.geometry.threshold
        with torch.no_grad(), RowsDone("likelihood", len(showers), "shower") as progress:
            for number, (energies, voxels) in enumerate(showers.iterate(_BLOCK)):
                rows, e_inc = (
                    torch.as_tensor(part, dtype=torch.float32, device=comparison.device)
                    for part in (voxels, energies)
                )
                found = model.likelihood(rows, e_inc, self.draws, comparison.seed + number)
                # A model that draws nothing has one number for each shower.
                most = found.log_weights.shape[1]
                draws = sorted({4**k for k in range(20) if 4**k < most} | {most})
                of_voxels = torch.stack([found.voxels(k) for k in draws], 1)
                columns = found.layers, of_voxels, found.spread
                lit = (voxels >= max(threshold, 1e-30)).sum(1)
                parts.append((*(part.cpu().numpy() for part in columns), lit, energies[:, 0]))
                progress.add(len(rows))
        return _Table(draws, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _scores(table: _Table, kind: str) -> list[Score]:
    def score(key: str, quantity: str, values: np.ndarray, **more: Any) -> Score:
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
        goal = more.pop("goal", "higher")
        return Score(
            _SECTION, quantity, float(values.mean()), spread=error, key=key, goal=goal, **more
        )

    scores = [
        score("log_prob", "shower", table.total, summary=True, note=kind),
        score("log_prob_layers", "layer energies", table.layers),
        score("log_prob_voxels", "voxels given the layers", table.voxels[:, -1]),
    ]
    lit = table.lit > 0
    if lit.any():
        scores.append(
            score(
                "log_prob_per_voxel",
                "shower over its lit voxels",
                (table.total / np.maximum(table.lit, 1))[lit],
            )
        )
    if len(table.draws) > 1:
        before = table.voxels[:, -1] - table.voxels[:, -2]
        scores += [
            score(
                "log_prob_rise", f"rise from {table.draws[-2]} to {table.draws[-1]} draws", before,
                goal="lower",
            ),
            score("log_weight_spread", "spread of log-weights", table.spread, goal="lower"),
        ]  # fmt: skip
    return scores


def _by_draws(table: _Table) -> list[dict[str, float]]:
    """The mean of log p for each number of draws."""
    means = (table.layers[:, None] + table.voxels).mean(0)
    return [
        {"draws": draws, "log_prob": float(mean)}
        for draws, mean in zip(table.draws, means, strict=True)
    ]


def _by_energy(table: _Table) -> list[dict[str, float]]:
    """The mean of log p for each incident energy, or in bins of it."""
    energies = np.unique(table.energies)
    groups = [table.energies == energy for energy in energies]
    if len(energies) > _FEW:
        order = np.argsort(table.energies, kind="stable")
        groups = [np.isin(np.arange(len(order)), part) for part in np.array_split(order, _BINS)]
    return [
        {
            "incident energy": float(np.exp(np.log(table.energies[group]).mean())),
            "showers": int(group.sum()),
            "log_prob": float(table.total[group].mean()),
            "lit voxels": float(table.lit[group].mean()),
        }
        for group in groups
    ]


def likelihood_figure(table: _Table, labels: tuple[str, str]) -> Figure:
    """How the bound rises with the draws, and log p over the lit voxels at each energy.

    Args:
        table: log p of showers.
        labels: What these showers and the model are called.
    """
    several = len(table.draws) > 1
    with house_style():
        image = figure(7.2 if several else 3.8, 3.4, "constrained")
        panels = image.subplots(1, 2 if several else 1, squeeze=False).ravel()
        if several:
            rise = table.voxels - table.voxels[:, -1:]
            error = rise.std(0) / math.sqrt(len(rise))
            panels[0].errorbar(
                table.draws, rise.mean(0), error, color=GENERATED, marker="o", capsize=2
            )
            panels[0].axhline(0.0, color=REFERENCE_EDGE, linewidth=0.8, linestyle=":")
            panels[0].set_xscale("log", base=2)
            step = -(-len(table.draws) // _TICKS)
            ticks = table.draws[::-step][::-1]
            panels[0].set_xticks(ticks, [str(k) for k in ticks])
            panels[0].minorticks_off()
            panels[0].set_xlabel("draws K")
            panels[0].set_ylabel(f"log p with K draws,\nless that with {table.draws[-1]} [nats]")
        rows = [row for row in _by_energy(table) if row["lit voxels"] > 0]
        energies = [row["incident energy"] / 1e3 for row in rows]
        panels[-1].plot(
            energies, [row["log_prob"] / row["lit voxels"] for row in rows], color=GENERATED,
            marker="o",
        )  # fmt: skip
        panels[-1].set_xscale("log")
        panels[-1].set_xlabel("incident energy [GeV]")
        panels[-1].set_ylabel("log p per lit voxel [nats]")
        words_above(image, f"{labels[0]}, under {labels[1]}")
        return image


def _caption(table: _Table) -> str:
    rise = ""
    if len(table.draws) > 1:
        rise = "Left: how the bound rises with the draws from the posterior. Right: "
    return f"{rise}log p per lit voxel, mean over the showers of an incident energy."


def _note(model: _Model, table: _Table, endless: int) -> str:
    left = (
        f" Infinite, and left out of the means, for {endless} showers whose decoded images have "
        "no volume." if endless else ""
    )  # fmt: skip
    drawn = f" with {table.draws[-1]} draws" if len(table.draws) > 1 else ""
    return (
        f"log p{drawn} is {_KINDS[model.kind]}, in nats; {model.measure}. Of the model before "
        "its calibration; mean over showers of the reference, the spread is its standard error. "
        f"Compare only numbers of one measure on the same showers.{left}"
    )


_KINDS = {
    "exact": "exact",
    "bound": "a lower bound",
    "estimate": "an estimate (of a lower bound, where latents are drawn)",
    "score": "a score, which is no density of what the model draws",
}
