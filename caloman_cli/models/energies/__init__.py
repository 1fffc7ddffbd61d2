"""How much energy each layer gets, given the incident energy."""

from caloman_cli.config.public import offered

__getattr__, __dir__ = offered(__name__)
