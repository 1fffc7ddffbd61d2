"""The metrics that ``conf/evaluation/*.yaml`` choose from, one component each."""

from caloman_cli.metrics.suite.classifier import Classifier
from caloman_cli.metrics.suite.intrinsic_dimension import IntrinsicDimension
from caloman_cli.metrics.suite.separation import Separation
from caloman_cli.metrics.suite.timing import Timing

__all__ = ["Classifier", "IntrinsicDimension", "Separation", "Timing"]
