"""Two-step generative models of calorimeter showers, from one command line or from Python.

``load_model``, ``generate`` and ``evaluate`` are where to begin; ``docs/api.md`` tells more.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caloman_cli.api.builtin import generate
    from caloman_cli.api.model import Model, load_model
    from caloman_cli.api.scores import Scores, evaluate
    from caloman_cli.data.geometry import Geometry
    from caloman_cli.data.showers import Showers
    from caloman_cli.errors import UserError

__version__ = "0.2.0"
__all__ = [
    "Geometry",
    "Model",
    "Scores",
    "Showers",
    "UserError",
    "__version__",
    "evaluate",
    "generate",
    "load_model",
]
_WHERE = {
    "Geometry": "data.geometry",
    "Model": "api.model",
    "Scores": "api.scores",
    "Showers": "data.showers",
    "UserError": "errors",
    "evaluate": "api.scores",
    "generate": "api.builtin",
    "load_model": "api.model",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is asked for: the package itself costs nothing."""
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
