"""Configs in the files of older versions, as this version writes them."""

from typing import Any

from caloman_cli.models.densities.velocity import VelocityNet

_SIZES = ("hidden", "n_blocks", "n_frequencies")


def modern(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a model file, plain data, with what has been renamed since under its new name.

    A student of a flow had the sizes of its network among its own settings; now it has a network.
    """
    density = config.get("density")
    if not isinstance(density, dict) or "net" in density:
        return config
    if not str(density.get("_target_")).endswith(".FlowMap"):
        return config
    net = {key: density[key] for key in _SIZES if key in density}
    rest = {key: value for key, value in density.items() if key not in net}
    target = f"{VelocityNet.__module__}.{VelocityNet.__qualname__}"
    return {**config, "density": {**rest, "net": {"_target_": target, **net}}}
