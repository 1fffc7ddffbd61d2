"""What the tests of toys share with those of the command line and of training."""

from tests.cli.conftest import caloman
from tests.training.conftest import preempt

__all__ = ["caloman", "preempt"]
