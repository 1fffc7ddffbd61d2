"""The distribution on the manifold: latents, given the conditions."""

from caloman_cli.config.public import offered

__getattr__, __dir__ = offered(__name__)
