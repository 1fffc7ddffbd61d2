"""What Hydra's own part of a config may name: its plugins, and its logging's classes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from caloman_cli.config.targets import TARGET, named
from caloman_cli.errors import UserError, shown

_HYDRA = re.compile(r"hydra\._internal\.core_plugins\.|hydra_plugins\.|optuna\.samplers\.")
_LOGGING = (
    "logging.StreamHandler", "logging.Formatter", "colorlog.ColoredFormatter",
    "caloman_cli.runs.console.Console", "caloman_cli.runs.console.Lines",
)  # fmt: skip


def check_hydra(values: Mapping[Any, Any], overrides: Sequence[str]) -> None:
    """Refuse what Hydra's own part of a config would import or call beyond its plugins.

    Args:
        values: The node ``hydra``, plain values, unresolved.
        overrides: What the user typed; what is named there is the user's own choice.

    Raises:
        UserError: A callback, a plugin or a part of the logging names something foreign.
    """
    typed = " ".join(overrides)
    for name in sorted(named(values)):
        if not _HYDRA.match(name) and name not in typed:
            raise UserError(
                f"hydra: {TARGET}={shown(name)} in a config is not called: type it on the command "
                "line if it is wanted"
            )
    for part in ("hydra_logging", "job_logging"):
        if any(
            argument.lstrip("+").startswith((f"hydra/{part}=", f"hydra.{part}"))
            for argument in overrides
        ):
            continue
        for key, value in _logging_classes(values.get(part)):
            if key == "()" or value not in _LOGGING:
                raise UserError(
                    f"hydra.{part}: {shown(key)}={shown(value)} is not called: logging may be "
                    f"made of {', '.join(_LOGGING)}"
                )


def _logging_classes(values: Any) -> Iterator[tuple[str, Any]]:
    """What the standard library would import for a logging config: classes and factories."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if key in ("()", "class"):
                yield key, value
            else:
                yield from _logging_classes(value)
            outside = isinstance(value, str) and value.startswith("ext://")
            if outside and value not in ("ext://sys.stdout", "ext://sys.stderr"):
                yield str(key), value
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _logging_classes(value)
