"""What is computed once of a set of showers: kept under the hash of all that it depends on.

How it is computed is a number, not the text of the code: a comment leaves it, a change of what
comes out raises it, wherever in the package that change was made.
"""

import contextlib
import hashlib
import logging
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from caloman_cli.data.files import replacing
from caloman_cli.data.showers import Showers
from caloman_cli.errors import CannotWrite
from caloman_cli.metrics.features import Features, high_level_features
from caloman_cli.metrics.histograms import voxel_edges, voxel_groups

log = logging.getLogger(__name__)

FEATURES = 2  # of the features and of the voxels' bins and counts: raised where a number changes
LARGEST = 4 * 2**30  # bytes of all that is kept

Arrays = dict[str, np.ndarray]


class StatisticsStore:
    """Arrays that are functions of showers, in files named by content.

    A name holds the kind and its version, the showers' content, their geometry and the settings:
    a file that was moved is found again, one that was changed or that another version computed
    never is. Files of older versions are removed where one is written, and the least recently
    used ones where all together are too large.

    Args:
        folder: Where the files lie; made when the first is written.
        largest: Of all files together [bytes].
    """

    def __init__(self, folder: Path, largest: int = LARGEST) -> None:
        self.folder, self.largest = folder.expanduser(), largest

    def get(
        self,
        kind: str,
        version: int,
        showers: Showers,
        settings: Mapping[str, object],
        compute: Callable[[], Arrays],
    ) -> Arrays:
        """Read the arrays, or compute and keep them.

        Args:
            kind: What they are.
            version: Of how they are computed.
            showers: What they are of.
            settings: All else that they depend on; compared by ``repr``.
            compute: Called where there is no such file.
        """
        path = self.folder / _name(kind, version, showers, settings)
        if path.is_file():
            try:
                # A file that numpy opens itself stays open where it is damaged.
                with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                    arrays = {name: stored[name] for name in stored.files}
                with contextlib.suppress(OSError):  # somebody else's, or removed by now
                    os.utime(path)
                return arrays
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                log.warning("%s is damaged and made anew: %s", path, error)
        arrays = compute()
        self._write(path, arrays)
        self._tidy(kind, version, path)
        return arrays

    def _write(self, path: Path, arrays: Arrays) -> None:
        """Keep arrays; a folder that cannot be written costs time later and nothing now."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part, part.open("wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]
        except (OSError, CannotWrite) as error:
            log.warning("not kept for another time: %s", error)

    def _tidy(self, kind: str, version: int, kept: Path) -> None:
        """Remove what nothing asks for any more, then the least recently used."""
        with contextlib.suppress(OSError):  # another process tidies too
            old = [path for path in self.folder.glob(f"{kind}-*.npz") if _version(path) < version]
            for path in old:
                path.unlink(missing_ok=True)
            found = [(path.stat(), path) for path in self.folder.glob("*.npz") if path != kept]
            total = sum(stat.st_size for stat, _ in found)
            for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime_ns):
                if total <= self.largest:
                    break
                path.unlink(missing_ok=True)
                total -= stat.st_size


class FeatureSource:
    """High-level features of showers, each set computed once.

    Args:
        cache_dir: Folder of the cache; features of real showers are kept below it.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.store = StatisticsStore(cache_dir / "statistics")
        self._known: dict[tuple[int, float, bytes], tuple[Showers, Features]] = {}

    def of(
        self,
        showers: Showers,
        threshold: float | None = None,
        edges_of: Features | None = None,
        *,
        keep: bool,
    ) -> Features:
        """Features with a histogram of all voxels.

        Args:
            showers: N showers.
            threshold: Readout cut [MeV]. None: the geometry's.
            edges_of: Features whose maximum ends the voxel histogram. None: these showers' own.
            keep: Whether they are worth a file: real showers are judged with again.
        """
        cut = showers.geometry.threshold if threshold is None else threshold
        edges = None if edges_of is None else voxel_edges(edges_of)
        key = (id(showers), cut, b"" if edges is None else edges.tobytes())
        if key not in self._known:  # the showers are held, so that their id stays theirs
            found = self._stored(showers, cut, edges) if keep else _computed(showers, cut, edges)
            self._known[key] = (showers, found)
        return self._known[key][1]

    def _stored(self, showers: Showers, cut: float, edges: np.ndarray | None) -> Features:
        def compute() -> Arrays:
            made = _computed(showers, cut, edges)
            assert made.voxel_edges is not None
            assert made.voxel_groups is not None
            return {
                "values": np.stack(list(made.values.values())),
                "names": np.array(list(made.values)),
                "max_voxel": np.array(made.max_voxel),
                "voxel_edges": made.voxel_edges,
                "voxel_groups": made.voxel_groups,
            }

        settings = {"threshold": cut, "edges": None if edges is None else edges.tolist()}
        arrays = self.store.get("features", FEATURES, showers, settings, compute)
        values = dict(zip(arrays["names"].tolist(), arrays["values"], strict=True))
        return Features(
            showers.geometry,
            cut,
            showers.energies[:, 0],
            values,
            float(arrays["max_voxel"]),
            arrays["voxel_edges"],
            arrays["voxel_groups"],
            showers.number_type,
            showers.energy_type,
        )


def _computed(showers: Showers, cut: float, edges: np.ndarray | None) -> Features:
    made = high_level_features(showers, cut, edges)
    if edges is not None:
        return made
    edges = voxel_edges(made)  # known only after the first pass
    return replace(made, voxel_edges=edges, voxel_groups=voxel_groups(showers, made, edges))


def _name(kind: str, version: int, showers: Showers, settings: Mapping[str, object]) -> str:
    facts = (showers.fingerprint, showers.geometry.to_dict(), sorted(settings.items()))
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
    return f"{kind}-v{version}-{digest}.npz"


def _version(path: Path) -> int:
    """Of a kept file, by its name; files of before there were versions are of the first."""
    found = re.match(r"\w+-v(\d+)-", path.name)
    return int(found[1]) if found else 1
