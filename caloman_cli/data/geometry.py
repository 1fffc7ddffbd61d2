"""Where the voxels are: layers of a calorimeter cut into rings and slices.

The axis is z, the particle's direction; layers follow each other along z. A layer has rings in
r (edges in mm), each cut into ``n_alpha`` equal slices of alpha in [-pi, pi). The flat voxel order
is layer slowest, then alpha, then r fastest.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.dataset import Detector
from caloman_cli.config.values import require
from caloman_cli.errors import UserError, shown

_LARGEST = 10**7  # voxels of a shower, and number of a layer


@dataclass(frozen=True)
class Layer:
    """One calorimeter layer.

    Args:
        id: The detector's number of the layer (gaps are allowed: 0, 1, 2, 3, 12).
        r_edges: Ring edges [mm], increasing, shape (n_r + 1,).
        n_alpha: Number of equal slices in alpha.
    """

    id: int
    r_edges: tuple[float, ...]
    n_alpha: int

    @property
    def n_r(self) -> int:
        return len(self.r_edges) - 1

    @property
    def n_voxels(self) -> int:
        return self.n_r * self.n_alpha


@dataclass(frozen=True)
class Geometry:
    """A detector's voxelisation and the facts that belong to it.

    Args:
        name: Name of the detector's binning, e.g. ``ds1_photons``.
        particle: The incident particle: ``photon``, ``pion``, ``muon``.
        layers: The layers in file order.
        threshold: Readout cut [MeV]: smaller voxel energies count as zero.
        max_response: Upper bound of the visible energy over the incident energy.
        incident_energies: Discrete incident energies [MeV], or None.
        incident_weights: Relative frequency of each discrete energy, or None.
        incident_range: (lowest, highest) [MeV] of a log-uniform spectrum, or None.
    """

    name: str
    particle: str
    layers: tuple[Layer, ...]
    threshold: float
    max_response: float
    incident_energies: tuple[float, ...] | None = None
    incident_weights: tuple[float, ...] | None = None
    incident_range: tuple[float, float] | None = None

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @cached_property
    def n_voxels(self) -> int:
        return sum(layer.n_voxels for layer in self.layers)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The flat voxel range of each layer."""
        edges = np.concatenate([[0], np.cumsum([layer.n_voxels for layer in self.layers])])
        return tuple(slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True))

    @cached_property
    def layer_index(self) -> np.ndarray:
        """The layer's position (0 ... L-1) of each voxel, int64, shape (V,)."""
        return np.repeat(np.arange(self.n_layers), [layer.n_voxels for layer in self.layers])

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(layers, alpha, r) where all layers have one shape, else None."""
        shapes = {(layer.n_alpha, layer.n_r) for layer in self.layers}
        return (self.n_layers, *shapes.pop()) if len(shapes) == 1 else None

    def layer_energies(self, voxels: Tensor) -> Tensor:
        """Sum the voxels of each layer: (B, V) MeV -> (B, L) MeV."""
        return torch.stack([voxels[:, part].sum(1) for part in self.slices], 1)

    def to_dict(self) -> dict:
        """Plain types only, so that a checkpoint can carry the geometry."""
        return asdict(self)

    @classmethod
    def named(cls, name: str) -> "Geometry":
        """The detector of a dataset, by the name of either: ``builtin_photons``, ``ds2``.

        Raises:
            UserError: There is no such name.
        """
        from omegaconf import OmegaConf

        from caloman_cli.config.compose import CONF

        known = official_geometries()
        for path in (CONF / "dataset").glob("*.yaml"):
            choices: Any = OmegaConf.select(OmegaConf.load(path), "defaults", default=[])
            for choice in choices:
                if isinstance(choice, Mapping) and "/geometry@geometry" in choice:
                    known[path.stem] = known[choice["/geometry@geometry"]]
        if name not in known:
            raise UserError(
                f"dataset {shown(name)} does not exist: use {', '.join(sorted(known))}"
            )
        return known[name]

    @classmethod
    def from_dict(cls, facts: dict) -> "Geometry":
        """Build from the facts of ``conf/geometry/*.yaml`` or of :meth:`to_dict`.

        A layer with ``repeat: n`` stands for n alike, numbered on from its ``id``.

        Raises:
            UserError: A fact is missing or unknown, a layer's edges do not rise from 0, a layer's
                number occurs twice or another number is out of range.
        """

        where = f"geometry {shown(facts.get('name', '?'))}"
        try:
            require(facts, Detector)
            if facts["particle"] is None:
                raise UserError("particle=null: only a binning file can say which it is")
            layers = checked_layers([one for item in facts["layers"] for one in _alike(item)])
            return cls(
                name=str(facts["name"]),
                particle=str(facts["particle"]),
                layers=layers,
                threshold=float(facts["threshold"]),
                max_response=float(facts["max_response"]),
                **_spectrum(facts),
            )
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        except KeyError as error:
            raise UserError(f"{where} lacks {shown(error.args[0])}") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{where} is not readable: {shown(error)}") from error


def layers_alike(
    identity: Any, edges: Iterable[Any], n_alpha: Any, repeat: Any = 1
) -> tuple[Layer, ...]:
    """Layers of one shape with numbers that follow each other, their numbers checked.

    Args:
        identity: The first one's number.
        edges: Ring edges [mm].
        n_alpha: Number of slices in alpha.
        repeat: How many layers.

    Raises:
        UserError: Edges are not finite, negative or not rising, or a number is out of range.
    """
    first = _layer(identity, edges, n_alpha)
    number = isinstance(repeat, int | float) and not isinstance(repeat, bool)
    if not number or not math.isfinite(repeat) or int(repeat) != repeat or repeat < 1:
        raise UserError(
            f"repeat of layer {first.id} is {shown(repeat)}, must be a whole number from 1: how "
            "many layers have this shape"
        )
    # Before there are as many layers: a repeat of a billion needs no memory to be refused.
    _refuse_size(int(repeat) * first.n_voxels)
    return tuple(replace(first, id=first.id + step) for step in range(int(repeat)))


def spelled_out(layers: Sequence[Any]) -> list[dict[str, Any]]:
    """A config's layers, each by itself: what runs and files had before there was ``repeat``.

    Raises:
        UserError: A layer is not understood.
    """
    try:
        return [asdict(one) for item in layers for one in _alike(item)]
    except KeyError as error:
        raise UserError(f"a layer lacks {shown(error.args[0])}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"a layer is not readable: {shown(error)}") from error


def _alike(item: Any) -> tuple[Layer, ...]:
    """The layers that one entry of a config stands for."""
    if unknown := sorted(map(str, set(item) - {"id", "r_edges", "n_alpha", "repeat"})):
        raise UserError(
            f"a layer has {shown(unknown[0])}, which is not understood: id, r_edges, n_alpha and, "
            "for several alike, repeat"
        )
    return layers_alike(item["id"], item["r_edges"], item["n_alpha"], item.get("repeat", 1))


def _layer(identity: Any, edges: Iterable[Any], n_alpha: Any) -> Layer:
    if int(identity) != identity or not 0 <= identity <= _LARGEST:
        raise UserError(f"layer id {shown(identity)} must be a whole number from 0")
    r_edges = tuple(float(edge) for edge in edges)
    rising = all(b > a for a, b in pairwise(r_edges))
    if len(r_edges) < 2 or not rising or not all(map(math.isfinite, r_edges)) or r_edges[0] < 0:
        raise UserError(
            f"r_edges of layer {identity} must be two or more rising numbers from 0 [mm], are "
            f"{shown(', '.join(f'{edge:g}' for edge in r_edges))}"
        )
    if int(n_alpha) != n_alpha or n_alpha < 1:
        raise UserError(f"n_alpha of layer {identity} is {shown(n_alpha)}, must be 1 or more")
    return Layer(int(identity), r_edges, int(n_alpha))


def checked_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers, which have to have a number of their own and voxels that fit a memory.

    Raises:
        UserError: A number occurs twice, or there are too many voxels.
    """
    number, times = Counter(one.id for one in layers).most_common(1)[0] if layers else (0, 0)
    if times > 1:
        raise UserError(f"layer id {number} occurs twice: every layer has a number of its own")
    _refuse_size(sum(one.n_voxels for one in layers))
    return tuple(layers)


def _refuse_size(n_voxels: int) -> None:
    if n_voxels > _LARGEST:
        raise UserError(f"{n_voxels} voxels per shower: at most {_LARGEST} are understood")


def _spectrum(facts: dict) -> dict[str, Any]:
    """The incident energies of :meth:`Geometry.from_dict`."""
    energies, weights, span = (
        None if (found := facts.get(f"incident_{name}")) is None else tuple(map(float, found))
        for name in ("energies", "weights", "range")
    )
    if weights is not None and (energies is None or len(weights) != len(energies)):
        raise UserError("incident_weights must be as many as incident_energies")
    if span is not None and span[0] >= span[1]:
        raise UserError("incident_range must be (lowest, highest), rising [MeV]")
    return {
        "incident_energies": energies,
        "incident_weights": weights,
        "incident_range": None if span is None else (span[0], span[1]),
    }


def official_geometries() -> dict[str, Geometry]:
    """The geometries that ship with the package, by name."""
    # Only here, so that a geometry alone needs no configuration.
    from omegaconf import OmegaConf

    from caloman_cli.config.compose import CONF

    found = {}
    for path in sorted((Path(CONF) / "geometry").glob("*.yaml")):
        facts = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(facts, dict)
        found[path.stem] = Geometry.from_dict(facts)
    return found
