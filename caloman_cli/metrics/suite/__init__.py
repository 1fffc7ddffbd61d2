"""The metrics that ``conf/evaluation/*.yaml`` choose from, one component each."""

from caloman_cli.metrics.suite.classifier import Classifier
from caloman_cli.metrics.suite.correlation import LayerCorrelation
from caloman_cli.metrics.suite.distances import PhysicsDistances
from caloman_cli.metrics.suite.intrinsic_dimension import IntrinsicDimension
from caloman_cli.metrics.suite.memorisation import Memorisation
from caloman_cli.metrics.suite.multiclass import Multiclass
from caloman_cli.metrics.suite.neighbours import PrecisionRecall
from caloman_cli.metrics.suite.quality import SampleQuality
from caloman_cli.metrics.suite.separation import Separation
from caloman_cli.metrics.suite.timing import Timing

__all__ = [
    "Classifier",
    "IntrinsicDimension",
    "LayerCorrelation",
    "Memorisation",
    "Multiclass",
    "PhysicsDistances",
    "PrecisionRecall",
    "SampleQuality",
    "Separation",
    "Timing",
]
