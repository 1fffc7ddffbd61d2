"""Public names: what a room of the package offers, and what older versions called it.

What is written into configs and model files is the name of a room and of a class in it,
``caloman_cli.models.densities.NSF``, never of a file, so that files can be split, joined and
renamed. A room finds its classes itself: a new one is a file in the room and nothing else.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module, resources
from typing import Any

TARGET = "_target_"
_CLASS = re.compile(r"^class ([A-Z]\w*)", re.MULTILINE)

_MODELS = "caloman_cli.models"
ROOMS = (
    *(
        f"{_MODELS}.{room}"
        for room in ("preprocess", "energies", "encoders", "heads", "densities", "calibrations")
    ),
    "caloman_cli.loggers",
    "caloman_cli.evaluation.components",
)
"""The rooms whose classes a config may name."""

_OLD_ROOMS = {
    "caloman_cli.calibration": f"{_MODELS}.calibrations",
    "caloman_cli.densities.flow": f"{_MODELS}.densities",
    "caloman_cli.densities.flow_map": f"{_MODELS}.densities",
    "caloman_cli.densities.flow_matching": f"{_MODELS}.densities",
    "caloman_cli.densities.standard_normal": f"{_MODELS}.densities",
    "caloman_cli.encoders.ae": f"{_MODELS}.encoders",
    "caloman_cli.encoders.identity": f"{_MODELS}.encoders",
    "caloman_cli.encoders.pca": f"{_MODELS}.encoders",
    "caloman_cli.encoders.vae": f"{_MODELS}.encoders",
    "caloman_cli.energies.autoregressive": f"{_MODELS}.energies",
    "caloman_cli.energies.spline_flow": f"{_MODELS}.energies",
    "caloman_cli.heads.autoregressive": f"{_MODELS}.heads",
    "caloman_cli.heads.cylinder": f"{_MODELS}.heads",
    "caloman_cli.heads.gaussian": f"{_MODELS}.heads",
    "caloman_cli.heads.hurdle_mixture": f"{_MODELS}.heads",
    "caloman_cli.metrics.suite": "caloman_cli.evaluation.components",
    "caloman_cli.preprocess.conditions": f"{_MODELS}.preprocess",
    "caloman_cli.preprocess.preprocess": f"{_MODELS}.preprocess",
    "caloman_cli.preprocess.scales": f"{_MODELS}.preprocess",
    "caloman_cli.preprocess.shares": f"{_MODELS}.preprocess",
    "caloman_cli.preprocess.zeros": f"{_MODELS}.preprocess",
}
"""Module of version 0.1 -> the room where its classes are now."""


_STUDENT = f"{_MODELS}.densities.FlowMap"


@cache
def names(room: str) -> Mapping[str, str]:
    """The public classes of a room, by name -> the module that defines each; none is imported."""
    found: dict[str, str] = {}
    for file in sorted(resources.files(room).iterdir(), key=lambda file: file.name):
        if file.is_dir() and not file.name.startswith("_"):
            found.update(names(f"{room}.{file.name}"))
        elif file.name.endswith(".py") and not file.name.startswith("__"):
            source = file.read_text(encoding="utf-8")
            module = f"{room}.{file.name.removesuffix('.py')}"
            found.update(dict.fromkeys(_CLASS.findall(source), module))
    return found


def offered(room: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a room, which loads a class when it is asked for."""

    def load(name: str) -> Any:
        module = names(room).get(name)
        if module is None:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(module), name)

    return load, lambda: sorted(names(room))


def current(name: str) -> str:
    """Today's name of a class that an older version named; any other name as it is."""
    module, _, kind = name.rpartition(".")
    return f"{_OLD_ROOMS[module]}.{kind}" if module in _OLD_ROOMS else name


def renamed(values: Any) -> Any:
    """Plain values of a file, with today's names of the classes and of their settings in them."""
    if isinstance(values, dict):
        node = {
            key: current(value) if key == TARGET and isinstance(value, str) else renamed(value)
            for key, value in values.items()
        }
        return _with_net(node) if node.get(TARGET) == _STUDENT else node
    if isinstance(values, list):
        return [renamed(value) for value in values]
    return values


def _with_net(node: dict[str, Any]) -> dict[str, Any]:
    """A student of a flow had the sizes of its network as its own; now it has the network."""
    sizes = {key: node[key] for key in ("hidden", "n_blocks", "n_frequencies") if key in node}
    rest = {key: value for key, value in node.items() if key not in sizes}
    return (
        {**rest, "net": {TARGET: f"{_MODELS}.densities.VelocityNet", **sizes}} if sizes else node
    )
