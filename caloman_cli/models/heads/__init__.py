"""How a decoder speaks of voxels: distributions of a shower, given the decoder's numbers."""

from caloman_cli.config.public import offered

__getattr__, __dir__ = offered(__name__)
