"""Equivalent showers: the metric in ``metric.py``, its tables and its picture beside it."""

from caloman_cli.evaluation.components.equivalent.metric import EquivalentOfShowers

__all__ = ["EquivalentOfShowers"]
