"""Ticks of logarithmic axes, colour bars among them, that can be read on narrow ranges."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    LogFormatter,
    MaxNLocator,
    NullFormatter,
)

FEWEST, _MOST = 3, 5
_MANTISSAS = ((1, 3), (1, 2, 5), range(1, 10))
_PLAIN = (1e-3, 1e5)  # numbers that are written out


def log_ticks(low: float, high: float) -> list[float]:
    """Where to put ticks: powers of ten where there are three, else some between them.

    Args:
        low: Lower end of the axis, above 0.
        high: Upper end, above ``low``.

    Returns:
        Powers of ten, however many, or three to five values.
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    powers = [10.0**k for k in exponents if low <= 10.0**k <= high]
    if len(powers) >= FEWEST:
        return powers
    for mantissas in _MANTISSAS:
        values = [m * 10.0**k for k in exponents for m in mantissas if low <= m * 10.0**k <= high]
        if len(values) >= FEWEST:
            return values if len(values) <= _MOST else values[::2]
    found = MaxNLocator(_MOST - 1).tick_values(low, high)
    return [float(value) for value in found if low <= value <= high]


def tick_labels(values: list[float]) -> list[str]:
    """Numbers written out, or all with powers of ten where one is very small or large."""
    if _PLAIN[0] <= min(values) and max(values) <= _PLAIN[1]:
        return [f"{value:.6g}" for value in values]
    return [_with_power(value) for value in values]


def _with_power(value: float) -> str:
    mantissa, exponent = f"{value:.3e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    number = f"{float(mantissa):g}"
    return f"${power}$" if number == "1" else f"${number}{{\\times}}{power}$"


def make_readable(image: Figure) -> None:
    """Set the ticks of all logarithmic axes that have matplotlib's own ones."""
    for ax in image.axes:
        for axis, ends in _axes_of(ax):
            low, high = sorted(map(float, ends))
            if axis.get_scale() != "log" or not 0 < low < high:
                continue
            if not isinstance(axis.get_major_formatter(), LogFormatter):
                continue
            axis.set_minor_formatter(NullFormatter())
            values = log_ticks(low, high)
            if not _are_powers(values):
                axis.set_major_locator(FixedLocator(values))
                axis.set_major_formatter(FixedFormatter(tick_labels(values)))


def _axes_of(ax: Axes) -> list[tuple[Axis, tuple[float, float]]]:
    return [(ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())]


def _are_powers(values: list[float]) -> bool:
    return bool(np.allclose(np.log10(values) % 1, 0))
