"""Files that are no files of showers, each broken in a way of its own; some are only unusual.

Every maker writes ``path`` from good showers of the tiny detector (100 rows, 12 voxels).
``BROKEN`` cannot be used by anybody; ``BAD_VOXELS`` have incident energies that are good;
``NOT_OK`` can be read, but nothing can be learned from them; ``UNUSUAL`` are good files.
"""

import gzip
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

N, V = 100, 12
Maker = Callable[[Path, np.ndarray, np.ndarray], None]
XML = """<Bins><Bin pid="11" name="electron">
<Layer id="0" r_edges="0,5,10" n_bin_alpha="1"/>
<Layer id="1" r_edges="0,5,10" n_bin_alpha="4"/>
<Layer id="12" r_edges="0,10,20" n_bin_alpha="1"/>
</Bin></Bins>"""


def good(seed: int = 0, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Incident energies (n, 1) float64 and voxels (n, 12) float32 [MeV]."""
    rng = np.random.default_rng(seed)
    energies = rng.uniform(1e3, 1e5, (n, 1))
    voxels = rng.exponential(size=(n, V)) * energies / V
    voxels[rng.random(voxels.shape) < 0.4] = 0
    return energies, voxels.astype(np.float32)


def write(path: Path, energies: object, voxels: object, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("incident_energies", data=energies)
        file.create_dataset("showers", data=voxels, **options)


def content(data: bytes) -> Maker:
    return lambda path, _e, _v: path.write_bytes(data)  # type: ignore[return-value]


def arrays(change: Callable[[np.ndarray, np.ndarray], tuple], **options: object) -> Maker:
    return lambda path, e, v: write(path, *change(e.copy(), v.copy()), **options)


def voxel(value: float, kind: str = "f4", row: int = 7) -> Maker:
    def make(path: Path, e: np.ndarray, v: np.ndarray) -> None:
        v = v.astype(kind)
        v[row, 3] = value
        write(path, e, v)

    return make


def energy(value: float) -> Maker:
    def make(path: Path, e: np.ndarray, v: np.ndarray) -> None:
        e[5] = value
        write(path, e, v)

    return make


def changed(change: Callable[[bytearray], bytes | bytearray]) -> Maker:
    """A good packed file whose bytes are changed."""

    def make(path: Path, e: np.ndarray, v: np.ndarray) -> None:
        write(path, e, v, compression="gzip", chunks=(25, V))
        path.write_bytes(change(bytearray(path.read_bytes())))

    return make


def in_file(change: Callable[[h5py.File, np.ndarray, np.ndarray, Path], None]) -> Maker:
    """A file that holds what a function puts there."""

    def make(path: Path, e: np.ndarray, v: np.ndarray) -> None:
        with h5py.File(path, "w") as file:
            change(file, e, v, path)

    return make


def beside(change: Callable[[h5py.File, np.ndarray, np.ndarray, Path], None]) -> Maker:
    """Good energies; the showers are made by a function."""

    def both(file: h5py.File, e: np.ndarray, v: np.ndarray, path: Path) -> None:
        file["incident_energies"] = e
        change(file, e, v, path)

    return in_file(both)


def _flip(data: bytearray, start: int, n: int) -> bytearray:
    for i in range(start, start + n):
        data[i] ^= 0xFF
    return data


def _flipped_chunk(path: Path, e: np.ndarray, v: np.ndarray) -> None:
    write(path, e, v, compression="gzip", chunks=(25, V))
    with h5py.File(path) as file:
        where = file["showers"].id.get_chunk_info(2).byte_offset
    path.write_bytes(_flip(bytearray(path.read_bytes()), where + 20, 64))


def _external(file: h5py.File, e: np.ndarray, v: np.ndarray, path: Path) -> None:
    write(path.with_name("part.h5"), e, v)
    file["showers"] = h5py.ExternalLink("part.h5", "showers")


def _stored_outside(file: h5py.File, e: np.ndarray, v: np.ndarray, path: Path) -> None:
    path.with_name("part.raw").write_bytes(v.tobytes())
    where = [(str(path.with_name("part.raw")), 0, v.nbytes)]
    file.create_dataset("showers", v.shape, "f4", external=where)


def _virtual(file: h5py.File, source: str, n: int = N) -> None:
    layout = h5py.VirtualLayout((n, V), "f4")
    layout[:] = h5py.VirtualSource(source, "showers", (n, V))
    file.create_virtual_dataset("showers", layout)


def _virtual_part(file: h5py.File, e: np.ndarray, v: np.ndarray, path: Path) -> None:
    write(path.with_name("part.h5"), e, v)
    _virtual(file, "part.h5")


def _loop(file: h5py.File, *_: object) -> None:
    file["there"] = h5py.SoftLink("/showers")
    file["showers"] = h5py.SoftLink("/there")


def _bomb(file: h5py.File, *_: object) -> None:
    rows = 80 * 10**6
    packer, block = zlib.compressobj(9), bytes(2**24)
    first, again = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    made = file.create_dataset("showers", (rows, V), "f4", chunks=(rows, V), compression="gzip")
    made.id.write_direct_chunk((0, 0), first + again * (rows * V * 4 // len(block)))


def _half(file: h5py.File, e: np.ndarray, v: np.ndarray, path: Path) -> None:
    made = file.create_dataset("showers", (N, V), "f4", chunks=(10, V))
    made[: N // 2] = v[: N // 2]


def _packed(name: str, code: int = 32001) -> Maker:
    def make(file: h5py.File, e: np.ndarray, v: np.ndarray, path: Path) -> None:
        for other, values in (("incident_energies", e), ("showers", v)):
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk(values.shape)
            if other == name:
                plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, 100))
            kind, space = h5py.h5t.py_create(values.dtype), h5py.h5s.create_simple(values.shape)
            made = h5py.h5d.create(file.id, other.encode(), kind, space, plist)
            made.write_direct_chunk((0, 0), values.tobytes(), 0)

    return in_file(make)


def _announced(n: int, **options: object) -> Maker:
    def make(file: h5py.File, *_: object) -> None:
        file.create_dataset("incident_energies", (n, 1), "f8", **options)
        file.create_dataset("showers", (n, V), "f4", **options)

    return in_file(make)


def _symlink(target: str) -> Maker:
    return lambda path, _e, _v: path.symlink_to(target)


BROKEN: dict[str, Maker] = {
    "missing": lambda path, _e, _v: None,
    "folder": lambda path, _e, _v: path.mkdir(),
    "pipe": lambda path, _e, _v: os.mkfifo(path),
    "device": _symlink("/dev/zero"),
    "link to itself": _symlink("link_to_itself.hdf5"),
    "dead link": _symlink("nowhere"),
    "empty": content(b""),
    "one byte": content(b"\x89"),
    "html": content(b"<html>404 not found</html>"),
    "gzip": content(gzip.compress(b"showers" * 99, mtime=0)),
    "pickle": content(pickle.dumps({"showers": [1, 2]})),
    "numpy": content(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}"),
    "only the signature": content(b"\x89HDF\r\n\x1a\n"),
    "signature and rubbish": content(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8),
    "zeros": content(bytes(4096)),
    "cut at 30 %": changed(lambda data: data[: len(data) * 3 // 10]),
    "cut at 90 %": changed(lambda data: data[: len(data) * 9 // 10]),
    "cut by a byte": changed(lambda data: data[:-1]),
    "header flipped": changed(lambda data: _flip(data, 9, 40)),
    "object headers flipped": changed(lambda data: _flip(data, 96, 300)),
    "no datasets": in_file(lambda file, *_: None),
    "no energies": in_file(lambda file, e, v, p: file.update({"showers": v})),
    "misnamed": in_file(lambda f, e, v, p: f.update({"incident_energy": e, "showers": v})),
    "in a group": in_file(lambda f, e, v, p: f.update({"a/incident_energies": e, "a/showers": v})),
    "energies are a group": in_file(lambda f, e, v, p: f.update({"incident_energies/x": e})),
    "energies are a type": in_file(
        lambda f, e, v, p: f.update({"incident_energies": np.dtype("f8"), "showers": v})
    ),
    "energies of text": arrays(lambda e, v: ([b"a"] * N, v)),
    "energies complex": arrays(lambda e, v: (e.astype("c8"), v)),
    "energies compound": arrays(lambda e, v: (np.zeros(N, [("a", "f4"), ("b", "i4")]), v)),
    "energies true or false": arrays(lambda e, v: (e > 0, v)),
    "energies of two columns": arrays(lambda e, v: (np.repeat(e, 2, 1), v)),
    "energies 3-dimensional": arrays(lambda e, v: (e[:, None], v)),
    "energies scalar": arrays(lambda e, v: (e[0, 0], v)),
    "energies null": in_file(
        lambda f, e, v, p: f.update({"incident_energies": h5py.Empty("f8"), "showers": v})
    ),
    "energies NaN": energy(np.nan),
    "energies infinite": energy(np.inf),
    "energies zero": energy(0.0),
    "energies negative": energy(-3.0),
    "energies 1e-300": energy(1e-300),
    "energies 1e300": energy(1e300),
    "energies linked outside": in_file(
        lambda f, e, v, p: f.update(
            {"incident_energies": h5py.ExternalLink("part.h5", "x"), "showers": v}
        )
    ),
    "energies packed by blosc": _packed("incident_energies"),
    "no rows": arrays(lambda e, v: (e[:0], v[:0])),
    "10^12 rows announced": _announced(10**12, chunks=(1000, 1)),
    "10^12 rows announced, contiguous": _announced(10**12),
    "4x10^8 rows of a fill value": _announced(4 * 10**8, chunks=(10**6, 1), fillvalue=5.0),
    "rows of a fill value": _announced(N, fillvalue=5.0),
}

BAD_VOXELS: dict[str, Maker] = {
    "no showers": in_file(lambda f, e, v, p: f.update({"incident_energies": e})),
    "showers are a group": beside(lambda f, e, v, p: f.update({"showers/x": v})),
    "showers of text": arrays(lambda e, v: (e, [b"a"] * N)),
    "showers complex": arrays(lambda e, v: (e, v.astype("c8"))),
    "showers true or false": arrays(lambda e, v: (e, v > 0)),
    "showers flat": arrays(lambda e, v: (e, v.reshape(-1))),
    "showers as images": arrays(lambda e, v: (e, v.reshape(N, 3, 4))),
    "showers scalar": arrays(lambda e, v: (e, v[0, 0])),
    "showers null": beside(lambda f, e, v, p: f.update({"showers": h5py.Empty("f4")})),
    "a voxel less": arrays(lambda e, v: (e, v[:, :-1])),
    "another detector": arrays(lambda e, v: (e, np.zeros((N, 368)))),
    "a row less": arrays(lambda e, v: (e, v[:-1])),
    "voxel NaN": voxel(np.nan),
    "voxel infinite": voxel(np.inf),
    "voxel negative": voxel(-1.0),
    "voxel slightly negative": voxel(-1e-7),
    "voxel -999": arrays(lambda e, v: (e, np.where(v == 0, -999, v))),
    "voxel beyond float32": voxel(1e300, "f8"),
    "voxel beyond float16": arrays(lambda e, v: (e, np.where(v > 0, np.float16("inf"), v))),
    "voxel NaN in the last row": voxel(np.nan, row=N - 1),
    "chunk flipped": _flipped_chunk,
    "linked outside": beside(_external),
    "linked to nothing": beside(
        lambda f, e, v, p: f.update({"showers": h5py.ExternalLink("gone.h5", "showers")})
    ),
    "link inside that leads nowhere": beside(
        lambda f, e, v, p: f.update({"showers": h5py.SoftLink("/gone")})
    ),
    "links in a loop": beside(_loop),
    "stored outside": beside(_stored_outside),
    "stored in /etc/passwd": beside(
        lambda f, e, v, p: f.create_dataset(
            "showers", v.shape, "u1", external=[("/etc/passwd", 0, v.size)]
        )
    ),
    "stored in what is gone": beside(
        lambda f, e, v, p: f.create_dataset(
            "showers", v.shape, "f4", external=[("/gone", 0, v.nbytes)]
        )
    ),
    "virtual": beside(_virtual_part),
    "virtual to nowhere": beside(lambda f, e, v, p: _virtual(f, "gone.h5")),
    "a bomb in one chunk": beside(_bomb),
    "half written": beside(_half),
    "nothing written": beside(lambda f, e, v, p: f.create_dataset("showers", (N, V), "f4")),
    "packed by blosc": _packed("showers"),
    "packed by nobody knows what": _packed("showers", 40_000),
}

NOT_OK: dict[str, Maker] = {
    "all empty": arrays(lambda e, v: (e, 0 * v)),
    "all below the cut": arrays(lambda e, v: (e, v * 0 + 0.01)),
    "990 times the energy": arrays(lambda e, v: (e, v * 990)),
    "energies in GeV": arrays(lambda e, v: (e / 1e3, v / 1e3)),
    "voxels in GeV": arrays(lambda e, v: (e, v / 1e5)),
    "few showers, many times": arrays(
        lambda e, v: (np.tile(e[:5], (20, 1)), np.tile(v[:5], (20, 1)))
    ),
    "one shower, many times": arrays(lambda e, v: (0 * e + e[0], 0 * v + v[0])),
}

UNUSUAL: dict[str, Maker] = {
    "plain": arrays(lambda e, v: (e, v)),
    "big-endian": arrays(lambda e, v: (e.astype(">f8"), v.astype(">f4"))),
    "whole numbers": arrays(lambda e, v: (np.rint(e).astype("i8"), np.rint(v).astype("i4"))),
    "energies of one dimension": arrays(lambda e, v: (e[:, 0], v)),
    "long doubles": arrays(lambda e, v: (e, v.astype(np.longdouble))),
    "lzf": arrays(lambda e, v: (e, v), compression="lzf"),
    "a row a chunk": arrays(lambda e, v: (e, v), chunks=(1, V), compression="gzip"),
    "checksums": arrays(lambda e, v: (e, v), chunks=(50, V), fletcher32=True),
    "shuffled": arrays(lambda e, v: (e, v), chunks=(50, V), shuffle=True, compression="gzip"),
    "can grow": arrays(lambda e, v: (e, v), maxshape=(None, V), chunks=(64, V)),
    "a link inside": beside(
        lambda f, e, v, p: f.update({"raw/x": v, "showers": h5py.SoftLink("/raw/x")})
    ),
}


def make(folder: Path, group: dict[str, Maker], name: str) -> Path:
    """The path of one file of the corpus, made in ``folder``."""
    path = folder / f"{name.replace(' ', '_').replace('/', '_').replace(',', '')}.hdf5"
    group[name](path, *good())
    return path
