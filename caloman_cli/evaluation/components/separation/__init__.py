"""Separation powers: the metric in ``metric.py``, what it draws beside it."""

from caloman_cli.evaluation.components.separation.metric import Separation

__all__ = ["Separation"]
