"""``caloman data convert``: showers to point clouds and back."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from caloman_cli.errors import UserError, shown

if TYPE_CHECKING:
    from caloman_cli.data.exchange.formats import Kind, Source, Writer
    from caloman_cli.data.geometry import Geometry

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write ``file`` to ``out`` in the form that its name says; returns that file.

    Raises:
        UserError: A file cannot be used, a package is not installed, or ``out`` exists.
    """
    from caloman_cli.data.exchange.formats import kind_of, kind_to_write
    from caloman_cli.data.table import require_new

    file, out = Path(cfg.file).expanduser(), Path(cfg.out).expanduser()
    kind = kind_of(file)
    target = kind_to_write(out, kind)
    if cfg.unit == "GeV" and "points" not in (kind, target):
        raise UserError("unit=GeV is for point clouds in HDF5: ROOT and Parquet are in MeV")
    require_new(out, [file], cfg.overwrite)
    if kind == "showers":
        _to_points(cfg, file, out, target)
    else:
        _to_showers(cfg, file, out, kind)
    return out


def _detector(cfg: DictConfig, file: Path, facts: Mapping[str, Any]) -> "Geometry":
    """The detector that was asked for, else the one of the challenge that the file names.

    Raises:
        UserError: None was asked for, and the file names none that is known.
    """
    from caloman_cli.data.detector import asked_geometry
    from caloman_cli.data.geometry import official_geometries

    asked, said = asked_geometry(cfg.dataset), facts.get("geometry")
    if asked is not None:
        if said not in (None, asked.name):
            log.warning("%s says that its detector is %s, not %s", file, shown(said), asked.name)
        return asked
    known = official_geometries()
    if said in known:
        log.info("%s says that its detector is %s", file, said)
        return known[said]
    says = (
        "does not say of which detector it is"
        if said is None
        else f"says {shown(said)}, which is none of the challenge's"
    )
    raise UserError(f"{file} {says}: give its detector, dataset=NAME or RUN, or geometry=FILE")


def _to_points(cfg: DictConfig, file: Path, out: Path, target: "Kind") -> None:
    from caloman_cli.data.attributes import HISTORY, plain, read_attributes
    from caloman_cli.data.container import open_hdf5
    from caloman_cli.data.exchange.clouds import clouds_of
    from caloman_cli.data.exchange.formats import ROWS
    from caloman_cli.data.files import make_folder_of
    from caloman_cli.data.showers import Showers

    with open_hdf5(file) as opened:
        others = sorted(set(opened) - {"showers", "incident_energies"})
        attributes = read_attributes(opened, file, ())[""]
    facts = {key: plain(attribute.value) for key, attribute in attributes.items()}
    facts = {key: value for key, value in facts.items() if value is not None}
    geometry = _detector(cfg, file, facts)
    showers = Showers.from_files([file], geometry)
    if others:
        log.warning("%s: a point cloud has no place for %s", file, ", ".join(others))
    if showers.number_type == "float64":
        log.warning("%s: voxels in float64 are rounded to float32, as points are", file)
    facts |= {"geometry": geometry.name, HISTORY: _history(facts, file, len(showers))}
    n_points = 0
    make_folder_of(out)
    with _writing(cfg, out, target, len(showers), geometry, facts) as write:
        for clouds in clouds_of(showers.iterate(ROWS), geometry):
            write(clouds)
            n_points += len(clouds.points)
    log.info("%s: %s showers, %s points", out, f"{len(showers):,}", f"{n_points:,}")


def _to_showers(cfg: DictConfig, file: Path, out: Path, kind: "Kind") -> None:
    from caloman_cli.data.attributes import HISTORY
    from caloman_cli.data.exchange.clouds import Voxeliser
    from caloman_cli.data.writer import ShowerWriter

    with _source(cfg, file, kind) as source:
        geometry = _detector(cfg, file, source.facts)
        voxeliser = Voxeliser(geometry)
        facts = {**source.facts, HISTORY: _history(source.facts, file, source.n)}
        facts.pop("showerdata_version", None)
        with ShowerWriter(out, source.n, geometry, facts) as writer:
            for clouds in source.blocks:
                writer.write(clouds.incident, voxeliser.voxels(clouds))
            voxeliser.report(str(file))
    log.info("%s: %s showers", out, f"{source.n:,}")


def _writing(
    cfg: DictConfig,
    out: Path,
    target: "Kind",
    n: int,
    geometry: "Geometry",
    facts: Mapping[str, Any],
) -> "AbstractContextManager[Writer]":
    from caloman_cli.data.exchange import formats, parquet, root, showerdata

    if target == "root":
        return root.writing(out, n, facts)
    if target == "parquet":
        return parquet.writing(out, n, facts)
    pdg = formats.pdg_of(geometry.particle, cfg.pdg)
    return showerdata.writing(out, n, pdg, cfg.unit or "MeV", facts)


def _source(cfg: DictConfig, file: Path, kind: "Kind") -> "AbstractContextManager[Source]":
    from caloman_cli.data.exchange import parquet, root, showerdata

    if kind == "root":
        return root.source(file)
    return parquet.source(file) if kind == "parquet" else showerdata.source(file, cfg.unit)


def _history(facts: Mapping[str, Any], file: Path, n: int) -> str:
    from caloman_cli.data.attributes import HISTORY, with_step

    step = {"verb": "data convert", "files": [{"name": file.name, "showers": n}], "showers": n}
    return with_step(facts.get(HISTORY), step)
