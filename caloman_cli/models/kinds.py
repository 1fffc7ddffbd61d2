"""What ``log_prob`` of a part, or of a whole model, says of what it draws."""

from typing import Literal, get_args

Kind = Literal["exact", "bound", "estimate", "score", "none"]
"""From the strongest to the weakest:

- ``exact``: the log-density of what ``sample`` draws;
- ``bound``: not more than it;
- ``estimate``: it up to an error of either sign, as of a solver or of random probes;
- ``score``: what training maximises and what compares samples under one model, but no density of
  what is drawn: of other variables, before they are scaled, or around a point that is not drawn;
- ``none``: there is no ``log_prob``.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)


def weakest(*kinds: Kind) -> Kind:
    """What a sum of such ``log_prob``\\ s is: the kind of its weakest part, ``exact`` of none.

    Raises:
        ValueError: One of them is no kind.
    """
    return KINDS[max((KINDS.index(kind) for kind in kinds), default=0)]
