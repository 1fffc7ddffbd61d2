"""Classifiers: the metric in ``metric.py``, its curves, and what boosted trees say beside it."""

from caloman_cli.evaluation.components.classifier.metric import Classifier

__all__ = ["Classifier"]
