"""What is corrected of showers after they are drawn."""

from caloman_cli.config.public import offered

__getattr__, __dir__ = offered(__name__)
