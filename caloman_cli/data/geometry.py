"""Where the voxels are: layers of a calorimeter cut into rings and slices.

The axis is z, the particle's direction; layers follow each other along z. A layer has rings in
r (edges in mm), each cut into ``n_alpha`` equal slices of alpha in [-pi, pi). The flat voxel order
is layer slowest, then alpha, then r fastest.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caloman_cli.errors import UserError


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
        particle: ``photon``, ``pion`` or ``electron``.
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
    def from_dict(cls, facts: dict) -> "Geometry":
        """Build from the facts of ``conf/geometry/*.yaml`` or of :meth:`to_dict`.

        Raises:
            UserError: A layer's edges do not increase or a number is out of range.
        """

        def numbers(key: str) -> tuple[float, ...] | None:
            values = facts.get(key)
            return None if values is None else tuple(float(value) for value in values)

        layers = tuple(
            _checked(int(item["id"]), item["r_edges"], int(item["n_alpha"]), str(facts["name"]))
            for item in facts["layers"]
        )
        span = numbers("incident_range")
        return cls(
            name=str(facts["name"]),
            particle=str(facts["particle"]),
            layers=layers,
            threshold=float(facts["threshold"]),
            max_response=float(facts["max_response"]),
            incident_energies=numbers("incident_energies"),
            incident_weights=numbers("incident_weights"),
            incident_range=None if span is None else (span[0], span[1]),
        )


def layers_from_xml(path: Path, particle: str) -> tuple[Layer, ...]:
    """Read the layers of one particle from a binning file in the challenge's XML form.

    A layer whose ``r_edges`` is a single number is absent.

    Args:
        path: File with ``<Bins><Bin name=...><Layer id= r_edges= n_bin_alpha=/></Bin></Bins>``.
        particle: The ``name`` of the ``Bin`` to read.

    Raises:
        UserError: The file is missing, is not such a file or lacks the particle.
    """
    if not path.is_file():
        raise UserError(
            f"binning file {path} does not exist: give geometry XML as an absolute path"
        )
    try:
        bins = {
            node.get("name", "?"): node for node in ElementTree.parse(path).getroot().iter("Bin")
        }
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is not a binning XML file: {error}") from error
    if particle not in bins:
        raise UserError(f"{path} has no particle '{particle}': it has {', '.join(bins) or 'none'}")
    layers = []
    for node in bins[particle].iter("Layer"):
        try:
            edges = [float(edge) for edge in node.attrib["r_edges"].split(",")]
            identity, n_alpha = int(node.attrib["id"]), int(node.attrib["n_bin_alpha"])
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: a Layer of '{particle}' is not readable: {error}") from error
        if len(edges) > 1:
            layers.append(_checked(identity, edges, n_alpha, str(path)))
    if not layers:
        raise UserError(f"{path}: particle '{particle}' has no layer with two or more r_edges")
    return tuple(layers)


def _checked(identity: int, edges: Sequence[float], n_alpha: int, where: str) -> Layer:
    r_edges = tuple(float(edge) for edge in edges)
    if len(r_edges) < 2 or any(b <= a for a, b in zip(r_edges[:-1], r_edges[1:], strict=True)):
        raise UserError(
            f"{where}: r_edges of layer {identity} must be two or more rising numbers [mm]"
        )
    if n_alpha < 1:
        raise UserError(f"{where}: n_alpha of layer {identity} is {n_alpha}, must be 1 or more")
    return Layer(identity, r_edges, n_alpha)


def official_geometries() -> dict[str, Geometry]:
    """The geometries that ship with the package, by name."""
    # Only here, so that a geometry alone needs no configuration.
    from omegaconf import OmegaConf

    from caloman_cli.config import CONF

    found = {}
    for path in sorted((Path(CONF) / "geometry").glob("*.yaml")):
        facts = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(facts, dict)
        found[path.stem] = Geometry.from_dict(facts)
    return found
