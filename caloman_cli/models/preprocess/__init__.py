"""The border between MeV and the dimensionless numbers that networks see."""

from caloman_cli.config.public import offered

__getattr__, __dir__ = offered(__name__)
