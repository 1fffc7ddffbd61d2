"""Binning files of detectors: the challenge's XML form, read as it is meant or not at all."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from caloman_cli.data.container import require_regular
from caloman_cli.data.geometry import Layer, checked_layers, layers_alike
from caloman_cli.errors import FileError, UserError, shown

_LARGEST = 10 * 2**20  # bytes; the binnings of the challenge have 10 kB
_LAYER = {"id", "r_edges", "n_bin_alpha", "name", "repeat"}
_BIN = {"name", "pid", "etaMin", "etaMax"}
_OFF = ("false", "0", "no")
_LEAST, _MOST = 10.0, 1e5  # where layers end [mm], if these are mm
_UNEVEN = 50.0  # how many times as wide as its neighbour no ring is on purpose
_PDG = {
    22: "photon", 11: "electron", 13: "muon", 211: "pion", 111: "pion", 321: "kaon",
    130: "kaon", 310: "kaon", 311: "kaon", 2212: "proton", 2112: "neutron",
}  # fmt: skip
"""Number of a particle -> the name that is expected beside it; antiparticles have the same."""
_CALLED = {
    "gamma": "photon", "e": "electron", "positron": "electron", "mu": "muon", "antimuon": "muon",
    "pi": "pion", "k": "kaon", "p": "proton", "antiproton": "proton", "n": "neutron",
}  # fmt: skip
"""Other names of these, without a charge behind them."""


@dataclass(frozen=True)
class Binning:
    """What a binning file says of one particle.

    Args:
        particle: The ``name`` of its ``Bin``.
        layers: The layers in the order of the file, which is that of the voxels.
        warnings: What may be a mistake in the file, a line each.
    """

    particle: str
    layers: tuple[Layer, ...]
    warnings: tuple[str, ...]


def read_binning(path: Path, particle: str | None = None) -> Binning:
    """Read one particle's layers from a binning file in the challenge's XML form.

    A layer whose ``r_edges`` is a single number is absent. One with ``repeat="n"``, which the
    challenge's own files do not have, stands for n alike, numbered on from its ``id``.

    Args:
        path: File with ``<Bins><Bin name=...><Layer id= r_edges= n_bin_alpha=/></Bin></Bins>``.
        particle: The ``name`` of the ``Bin`` to read; None where the file has one only.

    Raises:
        FileError: The file is missing, is not such a file, lacks the particle or has it more than
            once, or says something about the binning that is not understood.
    """
    node = _chosen(path, particle)
    name = node.get("name", "")
    if not name:
        raise FileError(f'{path}: a Bin lacks its name: give it that of its particle, name="muon"')
    where = f"{path}, particle '{shown(name)}'"
    _understood(node.attrib, _BIN, where)
    layers: list[Layer] = []
    absent: set[int] = set()
    for child in node:
        if child.tag != "Layer":
            raise FileError(
                f"{where}: the element <{shown(child.tag)}> is not understood: a Bin holds "
                '<Layer id="..." r_edges="..." n_bin_alpha="..."/> only'
            )
        number, found = _layers(child, where)
        layers += found
        absent |= set() if found else {number}
    if not layers:
        raise FileError(f"{where} has no layer with two or more r_edges")
    try:
        checked = checked_layers(layers)
    except UserError as error:
        raise FileError(f"{where}: {error}") from error
    warnings = (*_misnamed(name, node.get("pid")), *_oddities(checked, absent))
    return Binning(name, checked, warnings)


def _chosen(path: Path, particle: str | None) -> ElementTree.Element:
    """The one ``Bin`` that is meant."""
    nodes = list(_root(path).iter("Bin"))
    names = list(dict.fromkeys(shown(node.get("name", "?")) for node in nodes))
    if particle is None and len(names) > 1:
        raise FileError(
            f"{path} has several particles ({', '.join(names)}): say which, particle=NAME, or of "
            "a dataset dataset.geometry.particle=NAME"
        )
    found = [node for node in nodes if particle in (None, node.get("name"))]
    if not found:
        asked = "Bin" if particle is None else f"particle '{particle}'"
        raise FileError(f"{path} has no {asked}: it has {', '.join(names) or 'none'}")
    if len(found) > 1:
        slices = ", ".join(_slice(node) for node in found)
        raise FileError(
            f"{path} has particle '{names[0] if particle is None else particle}' {len(found)} "
            f"times ({shown(slices)}): keep in a copy the one Bin that the showers were made with"
        )
    return found[0]


def _layers(node: ElementTree.Element, where: str) -> tuple[int, tuple[Layer, ...]]:
    """The number of a ``Layer``, and the layers that it stands for: none where it is absent."""
    _understood(node.attrib, _LAYER, f"{where}, layer {shown(node.get('id', '?'))}")
    try:
        edges = [float(edge) for edge in node.attrib["r_edges"].split(",")]
        identity, n_alpha = int(node.attrib["id"]), int(node.attrib["n_bin_alpha"])
        repeat = int(node.get("repeat", "1"))
    except KeyError as error:
        raise FileError(f"{where}: a Layer lacks {error.args[0]}") from error
    except ValueError as error:
        raise FileError(
            f"{where}: layer {shown(node.get('id', '?'))} is not readable: {shown(error)} "
            "(r_edges are numbers in mm with commas between them, the others whole numbers)"
        ) from error
    if len(edges) < 2:
        return identity, ()
    try:
        return identity, layers_alike(identity, edges, n_alpha, repeat)
    except UserError as error:
        raise FileError(f"{where}: {error}") from error


def _misnamed(name: str, pid: str | None) -> Iterator[str]:
    """Where the ``pid`` of a ``Bin`` is another particle's than its name says."""
    number = int(pid) if pid is not None and pid.lstrip("+-").isdecimal() else 0
    expected, bare = _PDG.get(abs(number)), name.lower().rstrip("+-0_")  # kaon+, e-, pi0
    called = _CALLED.get(bare, bare)
    if expected is not None and called in _PDG.values() and called != expected:
        yield f"pid {pid} is that of {expected}, the Bin is called {name}: the name is what counts"


def _oddities(layers: Sequence[Layer], absent: set[int]) -> Iterator[str]:
    """What may be a mistake in layers that can be read.

    Args:
        layers: In the order of the file.
        absent: Numbers of layers that the file calls absent.
    """
    numbers = [layer.id for layer in layers]
    for before, after in pairwise(numbers):
        if after < before:
            yield (
                f"layer {after} stands behind layer {before}: voxels are taken in the order of "
                "this file, so the showers have to have it, too"
            )
    for before, after in pairwise(sorted({*numbers, *absent})):
        if after > before + 1:
            lost = f"{before + 1}" if after == before + 2 else f"{before + 1} ... {after - 1}"
            yield (
                f"there is no layer {lost} between {before} and {after}: energy there is counted "
                'nowhere (is one forgotten? r_edges="0" says that a layer is absent)'
            )
    for layer in layers:
        if layer.r_edges[0] > 0:
            yield (
                f"layer {layer.id} begins at {layer.r_edges[0]:g} mm: energy nearer to the axis "
                "is counted nowhere"
            )
        yield from _uneven(layer)
    end = max(layer.r_edges[-1] for layer in layers)
    if not _LEAST <= end <= _MOST:
        other = "cm or m" if end < _LEAST else "micrometres"
        yield f"all layers end within {end:g} mm: r_edges are in mm, are these in {other}?"


def _uneven(layer: Layer) -> Iterator[str]:
    rings = list(pairwise(layer.r_edges))
    for one, other in pairwise(rings):
        narrow, wide = sorted((one, other), key=lambda ring: ring[1] - ring[0])
        if wide[1] - wide[0] > _UNEVEN * (narrow[1] - narrow[0]):
            yield (
                f"layer {layer.id} has a ring from {narrow[0]:g} to {narrow[1]:g} mm beside one "
                f"from {wide[0]:g} to {wide[1]:g} mm: is an edge mistyped?"
            )
            return


def _root(path: Path) -> ElementTree.Element:
    require_regular(path, "a binning XML file")
    if path.stat().st_size > _LARGEST:
        raise FileError(f"{path} is no binning XML file: it has more than {_LARGEST // 2**20} MiB")
    try:
        content = path.read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise FileError(f"{path} has a DTD, which no binning needs: remove it in a copy")
        return ElementTree.fromstring(content)
    # Also an unknown encoding, and one that says more than the bytes hold.
    except (ElementTree.ParseError, LookupError, ValueError, RecursionError) as error:
        raise FileError(f"{path} is not a binning XML file: {shown(error)}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error


def _understood(attributes: Mapping[str, str], known: set[str], where: str) -> None:
    """Refuse what may change the meaning of a binning and is not honoured."""
    for name, value in attributes.items():
        if name == "symmetriseAlpha" and value.strip().lower() in _OFF:
            continue
        if name not in known:
            raise FileError(
                f"{where}: the attribute {shown(name)}={shown(value)} is not understood: remove "
                "it in a copy if the voxels of the showers are as without it"
            )


def _slice(node: ElementTree.Element) -> str:
    return f"etaMin {node.get('etaMin', '?')} etaMax {node.get('etaMax', '?')}"
