"""Where a dataset's showers come from: the user's files, the official ones or the generator."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from caloman_cli.config.dataset import Builtin
from caloman_cli.data.cache import default_cache_dir
from caloman_cli.data.detector import dataset_facts, dataset_geometry
from caloman_cli.data.download import RemoteFile
from caloman_cli.data.fingerprint import content_fingerprint
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.seal import is_sealed, seal
from caloman_cli.data.showers import Showers
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.errors import UserError

ROLES = ("train", "reference")
_PLACES = 8  # of a file, that a few of its showers are read at
FIRST_SEED = 10**9  # far from the seeds that people give to `caloman data generate`
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A detector with two independent samples of showers, each opened only when it is asked for.

    Args:
        name: The name of the configuration option.
        geometry: Where the voxels are.
        own: The user's files by role; an empty tuple where none were given.
        official: The files of the public record by role, or None.
        builtin: What the built-in generator makes, or None.
        data_dir: Folder of the official files, or None.
        cache_dir: Folder for generated showers.
        limit: At most so many showers of each role, see :meth:`Showers.limited`; None: all.
    """

    name: str
    geometry: Geometry
    own: dict[str, tuple[Path, ...]]
    official: dict[str, tuple[RemoteFile, ...]] | None
    builtin: Builtin | None
    data_dir: Path | None
    cache_dir: Path
    limit: int | None = None

    def train(self) -> Showers:
        """The showers to learn from, validation split included.

        Raises:
            UserError: They are missing or not valid.
        """
        return self._open("train")

    def reference(self) -> Showers:
        """The showers to compare with; never opened by training.

        Raises:
            UserError: They are missing or not valid.
        """
        showers = self._open("reference")
        if self.own["train"] and _share_content(self.own["train"], showers.paths):
            log.warning(
                "%s: a file is both training and reference data: scores against it say nothing",
                self.name,
            )
        return showers

    def preview(self, role: str, n: int) -> tuple[Showers, int]:
        """The showers of a role, and how many there are; nothing is written.

        Where built-in showers have yet to be made, n of them are made in memory.

        Raises:
            UserError: They are missing or not valid.
        """
        if self.builtin is not None and not any(self.own.values()):
            total, seed = _portion(self.builtin, role)
            if not is_sealed(self._builtin_path(role, self.builtin)):
                from caloman_cli.data.generator import generate

                total = min(total, self.limit or total)
                made = generate(self.geometry, min(n, total), seed)
                return Showers.from_arrays(*made, self.geometry, f"{self.name} {role}"), total
        showers = self.train() if role == "train" else self.reference()
        return showers, len(showers)

    def trial(self, n: int) -> tuple[Showers, int]:
        """About n of the showers to learn from, and how many there are; nothing is written.

        They come from places all over the files, see :meth:`preview` of built-in ones.

        Raises:
            UserError: They are missing or not valid.
        """
        showers, total = self.preview("train", n)
        if len(showers) < total:
            return showers, total
        starts = np.linspace(0, max(0, len(showers) - n // _PLACES), _PLACES).astype(int)
        rows = np.unique(starts[:, None] + np.arange(max(1, n // _PLACES)))
        return showers.subset(rows[rows < len(showers)]), len(showers)

    def _open(self, role: str) -> Showers:
        opened = Showers.from_files(self._paths(role), self.geometry)
        opened.name = f"{self.name} {role}"
        return opened.limited(self.limit)

    def _paths(self, role: str) -> Sequence[Path]:
        if self.own[role]:
            return self.own[role]
        if self.builtin is not None and not any(self.own.values()):
            return [self._generated(role, self.builtin)]
        if self.official is not None:
            return self._official(role, self.official[role])
        given = next((other for other in ROLES if self.own[other]), None)
        beside = f": dataset.{given} was given alone" if given else ""
        raise UserError(
            f"dataset={self.name} has no {role} showers{beside}; give dataset.{role}=[FILE,...]"
        )

    def _official(self, role: str, files: tuple[RemoteFile, ...]) -> list[Path]:
        if self.data_dir is None:
            raise UserError(
                f"dataset={self.name} needs {', '.join(file.name for file in files)} (DOI "
                f"{files[0].doi}): say where with data_dir=DIR or CALOMAN_DATA, fetch with "
                f"'caloman data download dataset={self.name} data_dir=DIR', or give "
                f"dataset.{role}=[FILE,...]"
            )
        paths = [self.data_dir / file.name for file in files]
        if missing := [path.name for path in paths if not path.exists()]:
            raise UserError(
                f"{', '.join(missing)} of dataset={self.name} (DOI {files[0].doi}) is not in "
                f"{self.data_dir}: put it there or run 'caloman data download "
                f"dataset={self.name} data_dir={self.data_dir}'"
            )
        return paths

    def _generated(self, role: str, builtin: Builtin) -> Path:
        (n, seed), path = _portion(builtin, role), self._builtin_path(role, builtin)
        if path.exists() and not is_sealed(path):
            log.warning("%s is damaged, or of an older version, and is made again", path)
            path.unlink()
        if not path.exists():
            log.info("generating %d showers of %s (%s)", n, self.geometry.name, role)
            write_generated(path, self.geometry, n, seed)
            seal(path)
        return path

    def _builtin_path(self, role: str, builtin: Builtin) -> Path:
        from caloman_cli.data.generator import VERSION

        n, seed = _portion(builtin, role)
        return self.cache_dir / "builtin" / f"{self.geometry.name}-n{n}-seed{seed}-v{VERSION}.hdf5"


def open_dataset(cfg: DictConfig, data_dir: Path | None, cache_dir: Path | None) -> Dataset:
    """Make sense of a dataset's configuration without opening a file of showers.

    Args:
        cfg: The group ``dataset``.
        data_dir: Folder of the official files, or None.
        cache_dir: Folder for what is made once; None takes the default.

    Raises:
        UserError: A value is missing or the binning file is not readable.
    """
    facts = dataset_facts(cfg)
    own = {role: _paths(facts[role], role) for role in ROLES}
    real = {role: {path.resolve() for path in own[role]} for role in ROLES}
    if both := real["train"] & real["reference"]:
        log.warning("%s is both training and reference data: scores say nothing", min(both))
    return Dataset(
        name=facts["name"],
        geometry=dataset_geometry(cfg),
        own=own,
        official=official_files(cfg),
        builtin=None if facts["builtin"] is None else Builtin(**facts["builtin"]),
        data_dir=None if data_dir is None else Path(data_dir).expanduser(),
        cache_dir=default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser(),
        limit=facts.get("limit"),  # runs before there was one say nothing of it
    )


def official_files(cfg: DictConfig) -> dict[str, tuple[RemoteFile, ...]] | None:
    """The public files of the group ``dataset`` by role, or None where there are none."""
    files = dataset_facts(cfg)["files"]
    if files is None:
        return None
    return {
        role: tuple(
            RemoteFile(item["name"], item["md5"], files["record"], files["doi"])
            for item in files[role]
        )
        for role in ROLES
    }


def write_generated(
    path: Path, geometry: Geometry, n: int, seed: int, energies: np.ndarray | None = None
) -> None:
    """Write showers of the built-in generator to a file, in blocks.

    Args:
        path: The file to make.
        geometry: One of the official geometries.
        n: Number of showers.
        seed: Equal seeds give equal showers.
        energies: Incident energies [MeV], shape (n, 1); None draws the dataset's spectrum.

    Raises:
        UserError: The file cannot be written.
    """
    from caloman_cli import __version__
    from caloman_cli.data.generator import VERSION, iterate_generated

    attributes: dict[str, str | int | float] = {
        "generator": "caloman built-in: parametrised showers, not Geant4",
        "generator_version": VERSION,
        "caloman_version": __version__,
        "seed": seed,
        "particle": geometry.particle,
    }
    with (
        ShowerWriter(path, n, geometry, attributes) as writer,
        tqdm(total=n, unit=" showers", desc=geometry.name, disable=None) as bar,
    ):
        for block_energies, voxels in iterate_generated(geometry, n, seed, energies):
            writer.write(block_energies, voxels)
            bar.update(len(voxels))


def split_indices(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the validation rows of a training file at random.

    Args:
        n: Number of rows.
        fraction: Share of validation rows, between 0 and 1; each side gets one row or more.
        seed: Equal seeds give equal splits.

    Returns:
        Row numbers for training and for validation, both increasing, int64; together they are
        0 to n - 1.

    Raises:
        UserError: The fraction is not between 0 and 1 or there are fewer than 2 rows.
    """
    if not 0 < fraction < 1:
        raise UserError(f"dataset.validation_fraction={fraction} must lie between 0 and 1")
    if n < 2:
        raise UserError(
            f"{n} showers cannot be split into training and validation, give 2 or more"
        )
    size = min(max(round(n * fraction), 1), n - 1)
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[size:]), np.sort(order[:size])


def _portion(builtin: Builtin, role: str) -> tuple[int, int]:
    """(number, seed) of a role; no seed serves two roles."""
    return {
        "train": (builtin.n_train, FIRST_SEED + 2 * builtin.seed),
        "reference": (builtin.n_reference, FIRST_SEED + 2 * builtin.seed + 1),
    }[role]


def _paths(given: Any, role: str) -> tuple[Path, ...]:
    if given is None:
        return ()
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"dataset.{role}={given} must be a list of files: [FILE,...]")
    return tuple(Path(name).expanduser() for name in names)


def _share_content(some: Sequence[Path], others: Sequence[Path]) -> bool:
    """Whether a file of one side has the bytes of a file of the other; sizes are asked first."""
    for one in some:
        for other in others:
            try:
                equal = one.stat().st_size == other.stat().st_size
                if equal and content_fingerprint(one) == content_fingerprint(other):
                    return True
            except OSError:
                continue  # a training file that is gone or closed to us cannot be compared
    return False
