"""The manifold: showers to latents, and latents to what a head speaks of."""

from caloman_cli.config.public import offered

__getattr__, __dir__ = offered(__name__)
