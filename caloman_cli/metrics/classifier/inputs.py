"""What a classifier sees of showers: whole in memory where it fits, else built batch by batch."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from caloman_cli.data.cache import voxel_array
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.features import (
    EMPTY,
    LOG_OFFSET,
    Features,
    chunk_rows,
    feature_matrix,
    high_level_features,
)
from caloman_cli.metrics.protocol import FeatureSet

Mode = Literal["low", "low_normed", "high", "resnet"]
AnyMode = Literal[Mode, "voxel_trees", "tabdpt"]
MODES: tuple[AnyMode, ...] = get_args(AnyMode)
MEMORY_LIMIT = 1536 * 1024**2
ON_FEATURES: tuple[AnyMode, ...] = ("high", "tabdpt")
MOST_TREE_VOXELS = 1000  # each is seen twice in every round
_TREE_FLOOR = 1e-3  # MeV: what is empty


class ClassifierRows(Protocol):
    """Inputs of the selected showers, class after class, equally many of each."""

    @property
    def width(self) -> int: ...

    def rows(self, index: np.ndarray) -> Tensor:
        """Inputs of an int64 index array, float32 on the training device, shape (B, width)."""
        ...


class LowLevelInput:
    """Voxels as a classifier sees them, with the incident energy before them.

    ``low`` and ``resnet``: log10 E_inc, voxels / E_inc. ``low_normed``: log10 E_inc, voxels /
    layer energy, log10 layer energies [MeV].

    Args:
        geometry: The showers' geometry.
        threshold: Readout cut [MeV]: smaller voxel energies count as zero.
        normed: Whether voxels are divided by their layer's energy.
        uncut_voxels: Leave the voxels of ``low_normed`` uncut while their layers' energies are
            cut, as the official script does: an empty layer with a voxel under the cut then
            gives numbers of order 1e15.
    """

    def __init__(
        self, geometry: Geometry, threshold: float, normed: bool, uncut_voxels: bool = False
    ) -> None:
        self.geometry, self.threshold = geometry, threshold
        self.normed, self.uncut_voxels = normed, uncut_voxels
        self.width = 1 + geometry.n_voxels + (geometry.n_layers if normed else 0)

    def __call__(self, e_inc: np.ndarray, voxels: np.ndarray) -> np.ndarray:
        """(b, 1) MeV and (b, V) MeV -> float32 (b, width)."""
        n_voxels = self.geometry.n_voxels
        inputs = np.empty((len(voxels), self.width), np.float32)
        inputs[:, 0] = np.log10(e_inc[:, 0])
        shown = inputs[:, 1 : 1 + n_voxels]
        shown[:] = voxels
        shown[shown < self.threshold] = 0
        if not self.normed:
            shown /= e_inc.astype(np.float32)
            return inputs
        for number, part in enumerate(self.geometry.slices):
            energy = shown[:, part].sum(1, dtype=np.float64)[:, None]
            if self.uncut_voxels:
                shown[:, part] = voxels[:, part]
            shown[:, part] = shown[:, part] / (energy + EMPTY)
            inputs[:, 1 + n_voxels + number] = np.log10(energy[:, 0] + LOG_OFFSET)
        return inputs


class TreeInput:
    """What boosted trees see of voxels.

    log10 E_inc, log10 layer energies [MeV], and voxels twice, as logarithms and as shares of their
    layer, rounded so that only physics counts and not the last digits of a file.

    Args:
        geometry: The showers' geometry.
        threshold: Readout cut [MeV]: smaller voxel energies count as zero.

    Raises:
        UserError: The geometry has too many voxels.
    """

    def __init__(self, geometry: Geometry, threshold: float) -> None:
        if geometry.n_voxels > MOST_TREE_VOXELS:
            raise UserError(
                f"boosted trees see up to {MOST_TREE_VOXELS:,} voxels, {geometry.name} has "
                f"{geometry.n_voxels:,}: use modes trees, low, low_normed, high or resnet"
            )
        self.geometry, self.threshold = geometry, threshold
        self.width = 1 + geometry.n_layers + 2 * geometry.n_voxels

    def __call__(self, e_inc: np.ndarray, voxels: np.ndarray) -> np.ndarray:
        """(b, 1) MeV and (b, V) MeV -> float32 (b, width)."""
        cut = np.where(voxels < self.threshold, 0.0, voxels.astype(np.float64))
        whole = np.stack([cut[:, part].sum(1) for part in self.geometry.slices], 1)
        shares = cut / np.maximum(whole, _TREE_FLOOR)[:, self.geometry.layer_index]
        seen = [
            np.log10(e_inc.astype(np.float64)).round(3),
            np.log10(whole + _TREE_FLOOR).round(2),
            np.log10(cut + _TREE_FLOOR).round(2),
            shares.round(3),
        ]
        return np.concatenate(seen, 1).astype(np.float32)


class Table:
    """Inputs of all K classes in one tensor on the training device, shape (K n, width)."""

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs

    @property
    def width(self) -> int:
        return self.inputs.shape[1]

    def rows(self, index: np.ndarray) -> Tensor:
        return self.inputs[torch.from_numpy(index).to(self.inputs.device)]


class Build(Protocol):
    """Makes a classifier's inputs from showers."""

    width: int
    geometry: Geometry

    def __call__(self, e_inc: np.ndarray, voxels: np.ndarray) -> np.ndarray:
        """(b, 1) MeV and (b, V) MeV -> float32 (b, width)."""
        ...


class VoxelStream:
    """Inputs built for each batch from memory-mapped voxels: never a second copy of the data."""

    def __init__(
        self,
        sides: Sequence[Showers],
        selected: Sequence[np.ndarray],
        build: Build,
        device: torch.device,
        cache_dir: Path,
    ) -> None:
        self.energies = [showers.energies for showers in sides]
        share = MEMORY_LIMIT // len(sides)
        self.voxels = [voxel_array(showers, cache_dir, share) for showers in sides]
        self.selected, self.build, self.device = selected, build, device

    @property
    def width(self) -> int:
        return self.build.width

    def rows(self, index: np.ndarray) -> Tensor:
        inputs = np.empty((len(index), self.width), np.float32)
        n = len(self.selected[0])
        for side, (voxels, energies) in enumerate(zip(self.voxels, self.energies, strict=True)):
            where = np.flatnonzero(index // n == side)
            rows = self.selected[side][index[where] - side * n]
            order = np.argsort(rows)  # rising offsets read a mapped file fastest
            rows, where = rows[order], where[order]
            inputs[where] = self.build(energies[rows], voxels[rows])
            _release(voxels)
        return torch.from_numpy(inputs).to(self.device)


def _release(voxels: np.ndarray) -> None:
    """Give the pages of a mapped array back, so that its whole never counts as this process's."""
    if isinstance(voxels.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        voxels.base.madvise(mmap.MADV_DONTNEED)


def classifier_rows(
    mode: AnyMode,
    sides: Sequence[Showers],
    selected: Sequence[np.ndarray],
    device: torch.device,
    cache_dir: Path | None,
    *,
    threshold: float | None = None,
    uncut_voxels: bool = False,
    features: Sequence[Features | None] | None = None,
    feature_set: FeatureSet = "high",
) -> ClassifierRows:
    """Prepare the inputs of each class's showers.

    Args:
        mode: See :class:`~caloman_cli.metrics.classifier.two_sample.ClassifierTest`.
        sides: The classes, e.g. reference and generated showers.
        selected: Rising row numbers of each class, equally many.
        device: Where the classifier trains.
        cache_dir: Where voxels that exceed the memory limit are mapped; None: they must not.
        threshold: Readout cut [MeV]. None: the geometry's.
        uncut_voxels: See :class:`LowLevelInput`.
        features: Features of each class after this cut, where known; ``high`` computes the others.
        feature_set: Which of them ``high`` shows; see :class:`Protocol`.
    """
    geometry = sides[0].geometry
    cut = geometry.threshold if threshold is None else threshold
    if mode in ON_FEATURES:
        known = features or [None] * len(sides)
        matrices = [
            _feature_rows(showers, cut, given, feature_set)[rows]
            for showers, rows, given in zip(sides, selected, known, strict=True)
        ]
        return Table(torch.from_numpy(np.concatenate(matrices)).to(device, torch.float32))
    build: Build = (
        TreeInput(geometry, cut)
        if mode == "voxel_trees"
        else LowLevelInput(geometry, cut, mode == "low_normed", uncut_voxels)
    )
    limit = MEMORY_LIMIT
    if device.type == "cuda":
        limit = torch.cuda.mem_get_info(device)[0] // 2
    if 4 * len(sides) * len(selected[0]) * build.width <= limit:
        return Table(_filled(sides, selected, build, device))
    if cache_dir is None:
        raise ValueError("these showers exceed the memory limit: give cache_dir")
    return VoxelStream(sides, selected, build, device, cache_dir)


def _feature_rows(
    showers: Showers, cut: float, known: Features | None, feature_set: FeatureSet
) -> np.ndarray:
    """Inputs of all showers of a class, float64, shape (N, width)."""
    if known is None:
        known = high_level_features(showers, cut)
    elif known.threshold != cut or len(known) != len(showers):
        raise ValueError(
            f"features of {len(known)} showers cut at {known.threshold} MeV were given for "
            f"{len(showers)} showers to cut at {cut} MeV"
        )
    matrix = feature_matrix(known)
    if feature_set == "high":
        return matrix
    layers = showers.geometry.layers
    return matrix[:, : 1 + len(layers) + 4 * sum(layer.n_alpha > 1 for layer in layers)]


def _filled(
    sides: Sequence[Showers],
    selected: Sequence[np.ndarray],
    build: Build,
    device: torch.device,
) -> Tensor:
    """Inputs of all classes, filled chunk by chunk."""
    inputs = torch.empty((sum(map(len, selected)), build.width), device=device)
    done = 0
    for showers, rows in zip(sides, selected, strict=True):
        start = 0
        for e_inc, voxels in showers.iterate(chunk_rows(build.geometry)):
            here = rows[(rows >= start) & (rows < start + len(voxels))] - start
            chunk = torch.from_numpy(build(e_inc[here], voxels[here]))
            inputs[done : done + len(here)] = chunk.to(device)
            done, start = done + len(here), start + len(voxels)
    return inputs
