"""How many showers, in words for tables and pictures."""

from caloman_cli.metrics.equivalent import Equivalent
from caloman_cli.metrics.ks_curve import Crossing

_SIGNS = {"more": "> ", "fewer": "< ", "": ""}


def worth(found: Equivalent | None) -> str:
    """``1,870 ± 210``, or ``> 18,200`` where no bias is seen."""
    if found is None or found.showers is None:
        return "–"
    if found.spread is None:
        return f"> {rounded(found.showers)}"
    return f"{rounded(found.showers)} ± {rounded(found.spread, 2)}"


def over(found: Equivalent, n_train: float) -> str:
    """Over the number of training showers, two digits."""
    if found.showers is None or n_train == 0:
        return "–"
    return f"{'' if found.seen else '> '}{rounded(found.showers / n_train, 2)}"


def by_distance(found: Crossing | None) -> str:
    """``1,950``, or ``> 25,600`` where the curve of real showers ends."""
    return "–" if found is None else f"{_SIGNS[found.beyond]}{rounded(found.showers)}"


def rounded(value: float, digits: int = 3) -> str:
    """A positive number with few digits and no exponent."""
    value = float(f"{value:.{digits}g}")
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"
