"""Voxels as one plain array, for random access: minibatches are never drawn from gzip.

A few hundred random rows of a gzip file cost as much as reading most of it. So a file is streamed
once, checked on the way, and kept under the hash of its content.
"""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from caloman_cli.data.files import replacing, write_error
from caloman_cli.data.fingerprint import content_fingerprint
from caloman_cli.data.seal import is_sealed, seal
from caloman_cli.data.showers import Showers
from caloman_cli.errors import CannotWrite, UserError

_ELSEWHERE = "choose another place with cache_dir=DIR"
VOXELS = 2  # of what is kept of a file's voxels: raised where a number changes
log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """``$CALOMAN_CACHE``, else ``~/.cache/caloman``."""
    return Path(os.environ.get("CALOMAN_CACHE") or "~/.cache/caloman").expanduser()


def voxel_array(showers: Showers, cache_dir: Path, memory_limit: int = 2 * 2**30) -> np.ndarray:
    """All voxels of some showers, in memory where they are small, else memory-mapped.

    Args:
        showers: N showers, streamed and checked unless a large array is in the cache already.
        cache_dir: Folder of the cache.
        memory_limit: Largest array [bytes] that is read into memory.

    Returns:
        Voxel energies [MeV], float32, shape (N, V); read-only where it is mapped.

    Raises:
        UserError: The showers are not valid, or the cache cannot be written.
    """
    if (ready := showers.array) is not None:
        for _ in showers.iterate():
            pass  # reading is checking
        return ready
    shape = (len(showers), showers.geometry.n_voxels)
    if 4 * shape[0] * shape[1] > memory_limit:
        return _mapped(showers, cache_dir.expanduser(), shape)
    voxels = np.empty(shape, np.float32)
    start = 0
    for _, block in showers.iterate():
        voxels[start : start + len(block)] = block
        start += len(block)
    return voxels


def _mapped(showers: Showers, cache_dir: Path, shape: tuple[int, int]) -> np.ndarray:
    folder = cache_dir / "voxels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in showers.paths:
            content_fingerprint(path, cache_dir / "fingerprints")
    except OSError as error:
        raise CannotWrite(f"{write_error(cache_dir, error)} ({_ELSEWHERE})") from error
    name = showers.fingerprint[:40]
    target = folder / f"{name}-v{VOXELS}.npy"
    for older in {folder / f"{name}.npy", *folder.glob(f"{name}-v*.npy")} - {target}:
        older.unlink(missing_ok=True)
    if target.exists():
        if is_sealed(target):
            return np.load(target, mmap_mode="r")
        log.warning("%s is damaged and is made again", target)
    _fill(showers, target, shape)
    return np.load(target, mmap_mode="r")


def _fill(showers: Showers, target: Path, shape: tuple[int, int]) -> None:
    """Stream the showers into ``target``; it appears only when it is whole.

    Written with plain writes, not through a map: a full disk is then an error, not a bus error.
    Two processes that need the same file make it twice and the last one wins; both are right.
    """
    needed, free = 4 * shape[0] * shape[1], shutil.disk_usage(target.parent).free
    if needed > free:
        raise UserError(
            f"the cache of {showers.name} needs {needed / 1e9:.1f} GB, but {target.parent} has "
            f"{free / 1e9:.1f} GB left: free some or choose another cache_dir=DIR"
        )
    log.info("caching %s once in %s (%.1f GB)", showers.name, target, needed / 1e9)
    try:
        with (
            replacing(target) as part,
            part.open("wb") as stream,
            tqdm(total=shape[0], unit=" showers", disable=None) as bar,
        ):
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            for _, block in showers.iterate():
                stream.write(np.ascontiguousarray(block, "<f4").data)
                bar.update(len(block))
        seal(target)
    except CannotWrite as error:
        raise CannotWrite(f"{error} ({_ELSEWHERE})") from error
