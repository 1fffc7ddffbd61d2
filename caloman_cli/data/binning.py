"""Binning files of detectors: the challenge's XML form, read as it is meant or not at all."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from caloman_cli.data.container import require_regular
from caloman_cli.data.geometry import Layer, checked_layers, layers_alike
from caloman_cli.errors import FileError, UserError, shown

_LARGEST = 10 * 2**20  # bytes; the binnings of the challenge have 10 kB
_LAYER = {"id", "r_edges", "n_bin_alpha", "name", "repeat"}
_BIN = {"name", "pid", "etaMin", "etaMax"}
_OFF = ("false", "0", "no")


def layers_from_xml(path: Path, particle: str) -> tuple[Layer, ...]:
    """Read the layers of one particle from a binning file in the challenge's XML form.

    A layer whose ``r_edges`` is a single number is absent. One with ``repeat="n"``, which the
    challenge's own files do not have, stands for n alike, numbered on from its ``id``.

    Args:
        path: File with ``<Bins><Bin name=...><Layer id= r_edges= n_bin_alpha=/></Bin></Bins>``.
        particle: The ``name`` of the ``Bin`` to read.

    Raises:
        FileError: The file is missing, is not such a file, lacks the particle or has it more than
            once, or says something about the binning that is not understood.
    """
    nodes = list(_root(path).iter("Bin"))
    found = [node for node in nodes if node.get("name", "?") == particle]
    if not found:
        names = ", ".join(dict.fromkeys(shown(node.get("name", "?")) for node in nodes))
        raise FileError(f"{path} has no particle '{particle}': it has {names or 'none'}")
    if len(found) > 1:
        slices = ", ".join(_slice(node) for node in found)
        raise FileError(
            f"{path} has particle '{particle}' {len(found)} times ({shown(slices)}): keep in a "
            "copy the one Bin that the showers were made with"
        )
    where = f"{path}, particle '{particle}'"
    _understood(found[0].attrib, _BIN, where)
    layers: list[Layer] = []
    for node in found[0].iter("Layer"):
        _understood(node.attrib, _LAYER, f"{where}, layer {shown(node.get('id', '?'))}")
        try:
            edges = [float(edge) for edge in node.attrib["r_edges"].split(",")]
            identity, n_alpha = int(node.attrib["id"]), int(node.attrib["n_bin_alpha"])
            repeat = int(node.get("repeat", "1"))
        except KeyError as error:
            raise FileError(f"{where}: a Layer lacks {error.args[0]}") from error
        except ValueError as error:
            raise FileError(f"{where}: a Layer is not readable: {shown(error)}") from error
        try:
            if len(edges) > 1:
                layers.extend(layers_alike(identity, edges, n_alpha, repeat))
        except UserError as error:
            raise FileError(f"{where}: {error}") from error
    if not layers:
        raise FileError(f"{where} has no layer with two or more r_edges")
    try:
        return checked_layers(layers)
    except UserError as error:
        raise FileError(f"{where}: {error}") from error


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
