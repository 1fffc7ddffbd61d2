"""What a file says of itself, and how it is shown."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from caloman_cli import __version__
from caloman_cli.config.options import option_of
from caloman_cli.data.spectrum import known_spectrum
from caloman_cli.errors import FileError
from caloman_cli.export.sampler import NoiseKind, Sampler
from caloman_cli.models.two_step import TwoStep

FORMAT = 1
KEY = "caloman"
"""The JSON document's name in a file; ``caloman.NAME`` are its plain entries once more."""
ORDER = "layer slowest, then alpha from -pi in equal slices, r fastest, inside out"
_PARTS = ("energy", "encoder", "density", "calibration")


def facts_of(
    module: Sampler, target: str, noise: NoiseKind, batch: int | None, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """The facts of a file.

    Args:
        module: What is exported.
        target: ``plain`` or ``par04``.
        noise: Where random numbers come from.
        batch: Showers of a call; None: any number.
        origin: Where the model comes from, plain values.
    """
    model = module.model
    spectrum = known_spectrum(model)
    energies = None if spectrum is None else [spectrum.energies[0], spectrum.energies[-1]]
    return {
        "format": FORMAT,
        "caloman_version": __version__,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch_version": str(torch.__version__),
        "target": target,
        "noise": noise,
        "batch": "any" if batch is None else batch,
        "inputs": [asdict(port) for port in module.inputs],
        "outputs": [asdict(port) for port in module.outputs],
        "voxel_order": ORDER if target == "plain" else module.outputs[0].what,
        "energy_range": energies,
        "energy_unit": "MeV",
        "model": {**_parts(model), **origin},
        "spectrum": None if spectrum is None else spectrum.to_dict(),
        "geometry": model.geometry.to_dict(),
    }


def _parts(model: TwoStep) -> dict[str, Any]:
    parts = {name: option_of(name, getattr(model, name)) for name in _PARTS}
    parts["head"] = option_of("head", model.encoder.head)
    return parts | {"parameters": model.generating_parameters()}


def entries(facts: Mapping[str, Any]) -> dict[str, str]:
    """The texts that a file carries: the document, and its plain values by themselves."""
    plain = {
        f"{KEY}.{name}": str(value)
        for name, value in facts.items()
        if isinstance(value, str | int | float)
    }
    energies = facts["energy_range"] or []
    ends = dict(zip((f"{KEY}.energy_low", f"{KEY}.energy_high"), map(str, energies), strict=False))
    return {KEY: json.dumps(facts), **plain, **ends}


def understood(path: Path, text: str | None) -> dict[str, Any]:
    """The facts of a file's document.

    Raises:
        FileError: There is none, or it is not understood.
    """
    try:
        facts = None if text is None else json.loads(text)
    except json.JSONDecodeError:
        facts = None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FileError(
            f"{path} says nothing that this caloman ({__version__}) understands: give a file of "
            "'caloman export'"
        )
    return facts


def lines(facts: Mapping[str, Any]) -> list[str]:
    """The facts, for people."""
    geometry, span = facts["geometry"], facts["energy_range"]
    layers = geometry["layers"]
    version, when, torchs = (facts[k] for k in ("caloman_version", "exported", "torch_version"))
    target, noise, batch = (facts[k] for k in ("target", "noise", "batch"))
    voxels = sum(_voxels(layer) for layer in layers)
    found = [
        f"caloman {version}, exported {when}, torch {torchs}",
        f"target: {target}, noise: {noise}, showers of a call: {batch}",
        f"detector: {geometry['name']} ({geometry['particle']}), {len(layers)} layers, "
        f"{voxels} voxels",
        f"voxel order: {facts['voxel_order']}",
        "trained at: " + ("not known" if span is None else f"{span[0]:g} ... {span[1]:g} MeV"),
    ]
    for kind in ("inputs", "outputs"):
        for port in facts[kind]:
            shape = ", ".join(map(str, port["shape"]))
            unit = f" [{port['unit']}]" if port["unit"] else ""
            found.append(
                f"{kind[:-1]} {port['name']}: {port['dtype']} ({shape}){unit}, {port['what']}"
            )
    return found + [f"model {name}: {value}" for name, value in facts["model"].items()]


def _voxels(layer: Mapping[str, Any]) -> int:
    return (len(layer["r_edges"]) - 1) * int(layer["n_alpha"])
