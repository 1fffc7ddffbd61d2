"""What the manifold of a run does for it: the metric in ``metric.py``, what it draws beside it."""

from caloman_cli.evaluation.components.ledger.metric import Ledger

__all__ = ["Ledger"]
