"""Equivalent showers as scores, tables and plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from caloman_cli.evaluation.components.equivalent.curves import NumberCurves
from caloman_cli.evaluation.components.equivalent.words import by_distance, over, worth
from caloman_cli.metrics.equivalent import ALL, GROUPS, Equivalent
from caloman_cli.metrics.score import Grid, Score

SECTION = "equivalent showers"
WORDS = {**GROUPS, ALL: "all features"}
_LIMIT = "a lower limit (95 %), no bias is seen"


@dataclass(frozen=True)
class Part:
    """What was found of showers of some incident energies.

    Args:
        words: Which energies.
        real: Showers of the reference.
        made: Generated showers.
        trained: Showers that the model learned from.
        ours: What the generated ones are worth, by group of features and ``all``.
        truth: The same of independent real showers in their place, or None.
    """

    words: str
    real: int
    made: int
    trained: float
    ours: Mapping[str, Equivalent]
    truth: Mapping[str, Equivalent] | None

    def beside(self, key: str) -> Equivalent | None:
        """The truth of a group."""
        return None if self.truth is None else self.truth[key]


def feature_scores(whole: Part, curves: NumberCurves | None, note: str) -> list[Score]:
    """A row for each group and for all, that over the training showers, and that by KS.

    Args:
        whole: Of all energies.
        curves: Distances against numbers, where there are independent real showers.
        note: For every row with a truth.
    """
    rows = [
        _score(whole, key, f"{words}: showers", f"equivalent_{key}", note, summary=True)
        for key, words in WORDS.items()
    ]
    words = f"{WORDS[ALL]}: over training showers"
    one = _score(whole, ALL, words, "equivalent_over_train", note, whole.trained, summary=True)
    said = [f"{whole.trained:,.0f} training showers", one.note]
    rows.append(replace(one, note="; ".join(filter(None, said))))
    if curves is not None:
        meet = curves.meet[ALL]
        said = [f"{meet.beyond} than that"] if meet.beyond else []
        said.append(f"{meet.showers / whole.trained:.2g} times the training showers")
        rows.append(
            Score(
                SECTION, f"{WORDS[ALL]}: showers by KS", meet.showers, spread=meet.error,
                note=", ".join(said), summary=True, key="equivalent_ks", goal="higher",
            )
        )  # fmt: skip
    return rows


def band_scores(bands: list[Part], note: str) -> list[Score]:
    """A row for all features of each band."""
    return [
        _score(band, ALL, f"{WORDS[ALL]}, {band.words}: showers", f"equivalent_band_{place}", note)
        for place, band in enumerate(bands, 1)
    ]


def _score(
    part: Part,
    group: str,
    words: str,
    key: str,
    note: str,
    divided: float = 1.0,
    summary: bool = False,
) -> Score:
    ours, real = part.ours[group], part.beside(group)
    said = ["" if ours.seen else _LIMIT]
    if real is not None:
        said += ["" if real.seen else "the truth a lower limit", note]

    def parts(value: float | None) -> float | None:
        return None if value is None else value / divided

    return Score(
        SECTION,
        words,
        parts(ours.showers),
        None if real is None else parts(real.showers),
        spread=parts(ours.spread),
        truth_spread=None if real is None else parts(real.spread),
        note="; ".join(filter(None, said)),
        summary=summary,
        key=key,
        goal="higher",
    )


def feature_grid(whole: Part, curves: NumberCurves | None) -> Grid:
    """A line for each group of features and for all."""
    heads = ["features", "showers", "over training showers", "by KS", "real showers"]
    rows = [
        [
            words,
            worth(whole.ours[key]),
            over(whole.ours[key], whole.trained),
            by_distance(None if curves is None else curves.meet[key]),
            worth(whole.beside(key)),
        ]
        for key, words in WORDS.items()
    ]
    return Grid(heads, rows, range(1, len(heads)))


def band_grid(bands: list[Part]) -> Grid:
    """A line for each band."""
    heads = [
        "incident energy", "real / these", "trained on", *WORDS, "all, over training showers",
        "real showers, all",
    ]  # fmt: skip
    rows = [
        [
            band.words,
            f"{band.real:,} / {band.made:,}",
            f"{band.trained:,.0f}",
            *(worth(band.ours[key]) for key in WORDS),
            over(band.ours[ALL], band.trained),
            worth(band.beside(ALL)),
        ]
        for band in bands
    ]
    return Grid(heads, rows, range(1, len(heads)))


def details(whole: Part, curves: NumberCurves | None, bands: list[Part]) -> dict[str, Any]:
    """For programs."""
    found: dict[str, Any] = {**_plain(whole), "bands": [_plain(band) for band in bands]}
    if curves is not None:
        found["ks"] = {
            name: {"showers": curve.numbers, **curve.groups}
            for name, curve in (("real", curves.real), ("generated", curves.made))
        }
        found["by_ks"] = {
            key: {"showers": one.showers, "beyond": one.beyond, "error": one.error}
            for key, one in curves.meet.items()
        }
    return found


def _plain(part: Part) -> dict[str, Any]:
    sides = {"generated": part.ours, "truth": part.truth}
    return {
        "energies": part.words,
        "reference showers": part.real,
        "generated showers": part.made,
        "training showers": part.trained,
        **{
            side: None if found is None else {
                key: {
                    "showers": one.showers, "error": one.spread, "limit": not one.seen,
                    "bias": one.bias, "bias_error": one.error, "knows": one.knows,
                }
                for key, one in found.items()
            }
            for side, found in sides.items()
        },
    }  # fmt: skip
