"""Showers that a model should refuse: the metric in ``metric.py``, what is drawn beside it."""

from caloman_cli.evaluation.components.ood.metric import OOD

__all__ = ["OOD"]
