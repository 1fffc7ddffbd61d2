"""The metrics that ``conf/evaluation/*.yaml`` choose from, one component each."""

from caloman_cli.evaluation.components.classifier import Classifier
from caloman_cli.evaluation.components.correlation import LayerCorrelation
from caloman_cli.evaluation.components.distances import PhysicsDistances
from caloman_cli.evaluation.components.intrinsic_dimension import IntrinsicDimension
from caloman_cli.evaluation.components.memorisation import Memorisation
from caloman_cli.evaluation.components.multiclass import Multiclass
from caloman_cli.evaluation.components.neighbours import PrecisionRecall
from caloman_cli.evaluation.components.quality import SampleQuality
from caloman_cli.evaluation.components.separation import Separation
from caloman_cli.evaluation.components.timing import Timing

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
