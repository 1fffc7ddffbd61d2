"""The metrics that ``conf/evaluation/*.yaml`` choose from, one component each."""

from caloman_cli.config.public import offered

__getattr__, __dir__ = offered(__name__)
