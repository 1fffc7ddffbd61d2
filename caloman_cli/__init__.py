"""Two-step generative models of calorimeter showers, from one command line."""

__version__ = "0.2.0"
