"""The built-in parametrised shower generator: toy showers for tests, demonstrations and timing."""

from caloman_cli.data.generator.generate import VERSION, draw_energies, generate, iterate_generated
from caloman_cli.data.generator.presets import PRESETS

__all__ = ["PRESETS", "VERSION", "draw_energies", "generate", "iterate_generated"]
