"""Whether a run's manifold earns its place: what latents carry, and what showers lose by them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
from annotated_types import Ge, MinLen

from caloman_cli.config.values import checked
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.carried import Carried, as_learned, carried
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.components.ledger.distances import DRAWS
from caloman_cli.evaluation.components.ledger.pages import (
    ASKED_LOSS,
    ASKED_OF,
    ASKED_R2,
    GIVEN,
    explained_grid,
    ledger_figure,
    rivals_grid,
)
from caloman_cli.evaluation.components.ledger.rivals import Judge, Rivals, Said
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.ledger import Explained, Inputs, code_bits, explained
from caloman_cli.metrics.observables import Observable, observables
from caloman_cli.metrics.score import Score
from caloman_cli.runs.directory import find_model

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

SECTION = "ledger of the manifold"


class Read(NamedTuple):
    """What is read from latents.

    Args:
        targets: The observables.
        found: R^2 by name; the inputs are the conditions, these and all latents and, where moments
            stand behind the learned ones, conditions and learned latents.
    """

    targets: list[Observable]
    found: dict[str, Explained | None]


@checked
class Ledger:
    """Nats of the latents, what they predict, and what is said of showers without them.

    Args:
        latents: From which observables are predicted: ``sample``, as the decoder hears them, or
            ``mean`` of the posterior, from which even what is lost in its width can be read.
        judges: Modes of the classifier metric that judge the model's showers and those with
            replaced latents; FPD and separation powers stand beside them.
        without: A run of the same model trained without latents, ``encoder=none``.
        max_showers: Of the reference, spread over it.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated", "model")

    def __init__(
        self,
        latents: Literal["sample", "mean"] = "sample",
        judges: Annotated[list[Judge], MinLen(1)] | None = None,
        without: Path | None = None,
        max_showers: Annotated[int, Ge(200)] = 10_000,
    ) -> None:
        self.latents, self.max_showers = latents, max_showers
        self.judges: list[Judge] = ["trees", "high"] if judges is None else judges
        self.without = None if without is None else _model_of(Path(without))

    def __call__(self, comparison: Comparison) -> Section:
        model = cast("TwoStep", comparison.model)
        showers = spread(comparison.reference, self.max_showers)
        rows = carried(model, showers, comparison.device, comparison.seed, self.latents)
        read = self._read(comparison, as_learned(model, showers, comparison.device), rows)
        rivals = Rivals(model, comparison, self.judges, self.without, self.max_showers)
        said = rivals.said()
        labels = comparison.reference_label, comparison.model_label
        image = ledger_figure(read.targets, read.found, rows, labels)
        comparison.draw("ledger", image, _CAPTION)
        scores = [
            *_carried_scores(model, rows),
            *_read_scores(read),
            *rivals.scores(said, SECTION),
        ]
        details: dict[str, Any] = {
            "latents": _latent_details(rows),
            "explained": {
                target.name: _explained_details(target, read.found[target.name])
                for target in read.targets
            },
            **said.details(),
            "without": rivals.other,
        }
        notes = [_NOTE[self.latents], *_moments_note(rows), *_orientation_note(model),
                 *rivals.notes, _verdict(read, said)]  # fmt: skip
        used: dict[str, str | float | None] = {
            "latents": self.latents, "showers": len(showers),
        }  # fmt: skip
        tables = {
            "What can be read of real showers: R² on showers that the regression has not seen":
                explained_grid(read.targets, read.found),
            "Scores against real showers, of the model and without what its latents say (FPD and "
            "separation powers S less what finite samples add)": rivals_grid(said),
        }  # fmt: skip
        return Section(scores, details, notes, conditions=used, tables=tables)

    def _read(self, comparison: Comparison, showers: Showers, rows: Carried) -> Read:
        targets = observables(comparison.features(showers))
        z = rows.z
        learned = z[:, : rows.n_learned]
        parts = [z, learned] if learned.shape[1] < z.shape[1] else [z]
        inputs = [Inputs(rows.c)]
        for part in parts:
            if rows.n_codes is None:
                inputs.append(Inputs(np.concatenate([rows.c, part], 1)))
            else:
                inputs.append(Inputs(rows.c, part))
        return Read(targets, explained(inputs, targets, comparison.seed))


def _model_of(run: Path) -> Path:
    """The other run's model file.

    Raises:
        UserError: There is none.
    """
    try:
        return find_model(run)
    except UserError as error:
        raise UserError(f"evaluation.ledger.without={run}: {error}") from error


def _carried_scores(model: "TwoStep", rows: Carried) -> list[Score]:
    nats, words, scores = rows.learned_nats, "nats of the learned latents", []
    of_layers = rows.n_learned - rows.n_shower
    if nats is not None:
        note = "KL of the posterior against N(0, 1)"
        scores.append(_score(words, "ledger_nats", note, nats))
        if of_layers and rows.nats is not None:
            nats = rows.nats[:, rows.n_shower : rows.n_learned].sum(1)
            scores.append(_score("nats of layers' latents", "ledger_nats_layers", note, nats))
    elif rows.n_codes is not None:
        bits = code_bits(rows.z[:, : rows.n_learned]).sum()
        note = "entropy of each position's usage, added up"
        scores.append(_score("bits of the learned codes", "ledger_code_bits", note, bits))
    else:
        why = "can only draw" if model.encoder.only_draws else "encodes to a point"
        note = f"none: encoder={model.encoder.latents.encoder} {why}"
        scores.append(_score(words, "ledger_nats", note, None))
    if rows.over is not None:
        note = "log q(z|x) - log p(z|c), all latents"
        words = "nats against the second step"
        scores.append(_score(words, "ledger_nats_second", note, rows.over))
    note, used = f"of {rows.n_learned}", rows.active_learned
    if of_layers:
        note += f"; {used - rows.active_shower} of the {of_layers} of layers"
    return [*scores, _score("learned latents in use", "ledger_active", note, used)]


def _score(quantity: str, key: str, note: str, values: np.ndarray | float | None) -> Score:
    """A mean of showers with its standard error, or one number."""
    mean, error = values, None
    if isinstance(values, np.ndarray) and values.ndim:
        mean = values.mean(dtype=np.float64)
        error = float(values.std(ddof=1) / np.sqrt(len(values)))
    mean = None if mean is None else float(mean)
    return Score(
        SECTION, quantity, mean, spread=error, note=note, summary=True, key=key, goal="higher"
    )


def _read_scores(read: Read) -> list[Score]:
    scores = []
    for target in read.targets:
        found, asked = read.found[target.name], target.name in ASKED_OF
        if found is None:
            continue
        notes = [GIVEN if target.given else f"energies alone {found.values[0]:.3f}"]
        notes += [f"asked: {ASKED_R2} or more"] if asked else []
        error = float(found.errors[1]) or None
        scores += [
            Score(SECTION, f"R² of {target.words}", float(found.values[1]), spread=error,
                  summary=asked, key=f"ledger_r2_{target.name}", goal="higher",
                  note="; ".join(notes)),
            Score(SECTION, f"R² of {target.words}, added by latents", float(found.gains[1]),
                  spread=float(found.gain_errors[1]) or None, key=f"ledger_gain_{target.name}",
                  goal="higher"),
        ]  # fmt: skip
    return scores


def _latent_details(rows: Carried) -> dict[str, Any]:
    each = None if rows.nats is None else rows.nats.mean(0, dtype=np.float64).round(4).tolist()
    bits = None if rows.n_codes is None else code_bits(rows.z).round(4).tolist()
    return {
        "learned": rows.n_learned,
        "of layers": rows.n_learned - rows.n_shower,
        "moments": rows.z.shape[1] - rows.n_learned,
        "in use": rows.active.tolist(),
        "nats": each,
        "code bits": bits,
    }


def _explained_details(target: Observable, found: Explained | None) -> dict[str, Any] | None:
    if found is None:
        return None
    names = ("energies", "latents", "learned latents")
    table: dict[str, Any] = {
        name: {"r2": float(value), "error": float(error)}
        for name, value, error in zip(names, found.values, found.errors, strict=False)
    }
    if target.by_layer:
        table["columns"] = [[round(float(v), 4) for v in column] for column in found.columns]
    return {**table, "given": target.given}


def _moments_note(rows: Carried) -> list[str]:
    moments = rows.z.shape[1] - rows.n_learned
    if not moments:
        return []
    return [
        f"{moments} of the second step's {rows.z.shape[1]} latents are moments that the head reads"
        " off a shower, told with a noise of 0.1; what the learned ones predict by themselves has "
        "a column of its own, and nats of learned latents leave moments out."
    ]


def _orientation_note(model: "TwoStep") -> list[str]:
    if model.preprocess.orientation is None:
        return []
    return ["Observables are those of showers in canonical orientation, which is what this model "
            "learns: the way a shower leans is drawn apart from its latents."]  # fmt: skip


def _verdict(read: Read, said: Said) -> str:
    """Figures beside what is asked of them."""
    parts = []
    judged = said.aucs.get("trees", {})
    if "without" in judged:
        lost, error = judged["without"].over(judged["model"])
        parts.append(f"AUC of trees without latents less with them {lost:.3f} ± {error:.3f}, "
                     f"asked {ASKED_LOSS:.2f} or more")  # fmt: skip
    else:
        parts.append(f"AUC of trees without latents less with them: not measured here, asked "
                     f"{ASKED_LOSS:.2f} or more")  # fmt: skip
    for target in read.targets:
        found = read.found[target.name]
        if target.name in ASKED_OF and found is not None:
            alone = f" ({GIVEN})" if target.given else ""
            parts.append(f"R² of {target.words} {found.values[1]:.3f}{alone}, "
                         f"asked {ASKED_R2} or more")  # fmt: skip
    return f"Does the manifold earn its place? {'; '.join(parts)}."


_CAPTION = (
    "Share of the variance of observables of real showers that a regression predicts from the "
    "energies alone and with latents; dashed: what is asked of axis and tilt. Beside it, where it "
    "is known: what each latent carries (moments, hatched, against a normal of their own width), "
    "unused ones grey."
)
_NOTE = {
    "sample": "R²: from latents that are drawn, as the decoder hears them. ",
    "mean": "R²: from means of the posterior, which tell more than the decoder hears. ",
}
_RULE = (
    "Boosted trees learn from one half of the showers and are judged by the other, from the "
    "conditions (incident and layer energies) alone and with latents; errors are bootstrap "
    "errors. AUCs: small classifiers, spread: statistical error of one training. FPD: of "
    f"{DRAWS} draws of each size (the challenge: 20), less the bias of finite samples; separation "
    "powers S: mean of each group of histograms, less the floor of finite samples."
)
_NOTE = {name: text + _RULE for name, text in _NOTE.items()}
