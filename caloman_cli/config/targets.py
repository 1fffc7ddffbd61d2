"""Which classes a config may name: the package's own, and those that the command line names.

Model files, runs and configs travel; a ``_target_`` in them is a name, never a licence to import
and call. A name is accepted at a known place only, where it is a public class of the package that
keeps the place's contract, or a class with that contract which the user's own command line names:
in a config that it chose, or in ``trust=[my_package.MyEncoder]`` for a model file. All else is
refused before anything foreign is imported. Nothing here resolves interpolations.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, get_args, get_origin

from caloman_cli.config.public import TARGET, current, names
from caloman_cli.config.values import fits, setting_types, spell
from caloman_cli.errors import UserError, shown

_CONCRETE = {"Preprocess", "Conditions"}  # contracts that are made as they are
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


class Place(NamedTuple):
    """Where a class may be named.

    Args:
        room: The room whose public classes may stand here; empty: none.
        contract: Module and name of the class that they derive from, or of the protocol.
    """

    room: str
    contract: str

    def load(self) -> type:
        """The contract itself."""
        module, _, name = self.contract.partition(":")
        found: type = getattr(import_module(module), name)
        return found


PLACES = {
    "preprocess": Place(
        "caloman_cli.models.preprocess", "caloman_cli.models.preprocess.preprocess:Preprocess"
    ),
    "energy": Place("caloman_cli.models.energies", "caloman_cli.models.energies.base:EnergyModel"),
    "encoder": Place("caloman_cli.models.encoders", "caloman_cli.models.encoders.base:Encoder"),
    "head": Place("caloman_cli.models.heads", "caloman_cli.models.heads.base:Head"),
    "density": Place("caloman_cli.models.densities", "caloman_cli.models.densities.base:Density"),
    "calibration": Place(
        "caloman_cli.models.calibrations", "caloman_cli.models.calibrations.base:Calibration"
    ),
    "logger": Place("caloman_cli.loggers", "caloman_cli.loggers:Logger"),
    "evaluation": Place(
        "caloman_cli.evaluation.components", "caloman_cli.evaluation.comparison:Metric"
    ),
}
"""Config group -> what it may name; the metrics of a suite stand inside ``evaluation``."""

_trusted: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())


@contextmanager
def trusting(names: Iterable[str]) -> Iterator[None]:
    """Classes that the user has named are accepted inside the block, where their contract fits.

    Args:
        names: Dotted names, ``my_package.MyEncoder``.
    """
    token = _trusted.set(_trusted.get() | frozenset(names))
    try:
        yield
    finally:
        _trusted.reset(token)


def named(values: Any) -> set[str]:
    """Every ``_target_`` in plain values, however deep."""
    if isinstance(values, Mapping):
        own = values.get(TARGET)
        found = {own} if isinstance(own, str) else set()
        return found.union(*(named(value) for value in values.values()))
    if isinstance(values, list | tuple):
        return set().union(*(named(value) for value in values))
    return set()


def refuse_interpolations(values: Any, where: str) -> None:
    """Raise a UserError where plain data of a file hold ``${...}``.

    What a run or a model file says is final. An interpolation would be resolved on the machine of
    the reader: it could carry the reader's environment into a report.
    """
    if isinstance(values, Mapping):
        for key, value in values.items():
            refuse_interpolations(key, where)
            refuse_interpolations(value, where)
    elif isinstance(values, list | tuple):
        for value in values:
            refuse_interpolations(value, where)
    elif isinstance(values, str) and "${" in values:
        raise UserError(
            f"{where} holds the interpolation {shown(values)}: what caloman writes has "
            "none, give a file from a source that you trust"
        )


def locate(name: Any, place: Place, where: str) -> type:
    """The class that a ``_target_`` names.

    Args:
        name: What stands behind ``_target_``.
        place: What may stand there.
        where: Dotted key, for the message.

    Raises:
        UserError: The name is not allowed there; nothing foreign has been imported by then.
    """
    contract = place.contract.rpartition(":")[2]
    said = f"{where}.{TARGET}={shown(name)}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{said}: must name a class, package.module.Class")
    module, _, attribute = current(name).rpartition(".")
    if place.room and f"{module}.".startswith(f"{place.room}."):
        return _own(module, attribute, place, said)
    if name not in _trusted.get():
        raise UserError(
            f"{said} is no {contract} of this package and is not called: a class of your own has "
            f"to be named on the command line, with trust=[{shown(name)}] where a model is read"
        )
    try:
        room = import_module(module)
        if any(module == own.room for own in PLACES.values()) and attribute in names(module):
            found = getattr(room, attribute)  # our rooms load their classes when asked
        else:
            # Not getattr: a module may make any attribute up, and would do so by running code.
            found = vars(room).get(attribute)
    except (ImportError, SyntaxError) as error:
        raise UserError(f"{said} cannot be imported: {' '.join(str(error).split())}") from error
    if found is None:
        raise UserError(f"{said} cannot be imported: {module} has no {attribute}")
    if not isinstance(found, type) or not _keeps(found, place.load()):
        raise UserError(f"{said} is no {contract}: name a class that derives from {contract}")
    return found


def _own(module: str, attribute: str, place: Place, said: str) -> type:
    """A class of this package, by its public name."""
    contract = place.contract.rpartition(":")[2]
    known = names(place.room)
    if module != place.room and known.get(attribute, "").startswith(module):
        raise UserError(
            f"{said} is where a class lies, not what it is called: {place.room}.{attribute}"
        )
    if module != place.room or attribute not in known:
        raise UserError(f"{said} is no public {contract} of this package")
    found: type = getattr(import_module(place.room), attribute)
    if not _keeps(found, place.load()):
        raise UserError(f"{said} is no {contract}: name a class that derives from {contract}")
    return found


def _keeps(found: type, contract: type) -> bool:
    """Whether a class keeps a contract: derives from it, or has what a protocol asks for."""
    if getattr(contract, "_is_protocol", False):
        asked = set(contract.__annotations__) | {
            name for name, value in vars(contract).items() if inspect.isfunction(value)
        }
        # Not hasattr: every class is callable itself. A protocol's __init__ only refuses calls.
        has = {name for base in found.__mro__ for name in vars(base)}
        return asked - {"__init__", "__subclasshook__"} <= has and found is not contract
    return issubclass(found, contract) and (found is not contract or found.__name__ in _CONCRETE)


def nested_place(annotation: Any) -> Place | None:
    """What may be named where a parameter with this annotation is given, or None: nothing.

    That is a class of the annotation, of the items of a list, ``Sequence[Transform]``, or of what
    is made when the model is built, ``Callable[..., Density]``.
    """
    for option in get_args(annotation):
        if (place := nested_place(option)) is not None:
            return place
    module = getattr(annotation, "__module__", "builtins")
    plain = module.partition(".")[0] in ("builtins", "collections", "pathlib", "types", "typing")
    if plain or not isinstance(annotation, type):
        return None
    rooms = (place.room for place in PLACES.values())
    room = next((room for room in rooms if f"{module}.".startswith(f"{room}.")), "")
    return Place(room, f"{module}:{annotation.__qualname__}")


def is_late(annotation: Any) -> bool:
    """Whether a parameter wants a constructor, ``Callable[..., Density]``, and not what it makes.

    What is only known when a model is built (shapes, the detector) is passed to it then.
    """
    if get_origin(annotation) is Callable:
        return True
    return any(is_late(option) for option in get_args(annotation))


def refuse_unfinished(found: type, where: str) -> None:
    """Raise a UserError where a class cannot be made from its settings alone."""
    lacking = [
        name
        for name, parameter in inspect.signature(found).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    ]
    if lacking:
        raise UserError(
            f"{where}: {found.__name__} needs {', '.join(lacking)}, known when the model is built:"
            f" what it is a part of has to take a Callable[..., {found.__name__}]"
        )


def constructor(node: Any, place: Place, where: str) -> Callable[..., Any]:
    """The constructor that a node names, its settings given, its build-time arguments open.

    Args:
        node: Plain values: ``_target_``, and the settings.
        place: What may be named.
        where: Dotted key of the node, for messages.

    Raises:
        UserError: The name or a setting is not allowed, or a nested object refuses its settings.
    """
    if not isinstance(node, Mapping) or TARGET not in node:
        raise UserError(f"{where}: must be a mapping with {TARGET}, is {shown(node)}")
    found = locate(node[TARGET], place, where)
    known = setting_types(found)
    given = {}
    for key, value in node.items():
        if key == TARGET:
            continue
        if key not in known:
            raise UserError(
                f"{where}: {found.__name__} has no setting {shown(key)}, it has "
                f"{', '.join(known) or 'none'}"
            )
        given[key] = _argument(value, known[key][1], f"{where}.{key}")
    lacking = [n for n, (p, _) in known.items() if p.default is p.empty and n not in given]
    if lacking:
        raise UserError(f"{where}: {found.__name__} needs {', '.join(lacking)}")
    return partial(found, **given)


def _argument(value: Any, annotation: Any, where: str) -> Any:
    """A setting as it is passed: a nested object is made, or its constructor where it is late.

    All else has to be plain and to fit.
    """
    place = nested_place(annotation)
    if place is not None and isinstance(value, Mapping) and TARGET in value:
        return _nested(value, place, where, is_late(annotation))
    if place is not None and isinstance(value, list) and named(value):
        late = is_late(annotation)
        return [
            _nested(item, place, f"{where}[{index}]", late) for index, item in enumerate(value)
        ]
    refuse_targets(value, where)
    if not fits(value, annotation):
        raise UserError(f"{where}={shown(value)}: must be {spell(annotation)}")
    return value


def _nested(node: Any, place: Place, where: str, late: bool) -> Any:
    made = constructor(node, place, where)
    if late:
        return made
    refuse_unfinished(locate(node[TARGET], place, where), where)
    return made()


def refuse_targets(values: Any, where: str) -> None:
    """Raise a UserError where something is named at a place that takes plain values only."""
    if isinstance(values, Mapping):
        if values and any(isinstance(key, str) and key.startswith("_") for key in values):
            key = next(key for key in values if isinstance(key, str) and key.startswith("_"))
            raise UserError(
                f"{where}.{shown(key)}={shown(values[key])}: nothing may be named here, only "
                "plain values may stand here"
            )
        for key, value in values.items():
            refuse_targets(value, f"{where}.{shown(key)}")
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            refuse_targets(value, f"{where}[{index}]")
