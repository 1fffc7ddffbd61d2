"""Rows of showers for the stages that see voxels."""

import logging

import numpy as np
import torch
from torch import Tensor

from caloman_cli.models.preprocess.preprocess import Preprocess
from caloman_cli.models.trainable import RowSource, TensorRows, iterate

log = logging.getLogger(__name__)

_RESIDENT_SHARE = 0.5  # of the free memory of a CUDA device
_CHUNK_VALUES = 1 << 24  # voxels that travel to the device at once


class VoxelStore:
    """Showers of one data set, gathered by row number.

    The voxels stay where they are, in memory or in a memory-mapped file, unless they fit on a
    CUDA device: then they are moved there once.

    Args:
        voxels: [MeV], shape (N, V), float32.
        energies: Incident energies [MeV], shape (N, 1).
        device: Where rows are delivered.
    """

    def __init__(self, voxels: np.ndarray, energies: np.ndarray, device: torch.device) -> None:
        self.voxels, self.device = voxels, device
        self.energies = torch.as_tensor(energies, dtype=torch.float32).to(device)
        self._resident = self._moved() if self._fits() else None

    def __len__(self) -> int:
        return len(self.voxels)

    def gather(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Voxels (B, V) and incident energies (B, 1) [MeV] of row numbers (B,)."""
        where = torch.as_tensor(index).to(self.device)
        if self._resident is not None:
            return self._resident[where], self.energies[where]
        rows = torch.from_numpy(self.voxels[index]).to(self.device)
        return rows, self.energies[where]

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.voxels.nbytes < _RESIDENT_SHARE * free

    def _moved(self) -> Tensor:
        log.info("keeping %.2f GB of voxels on %s", self.voxels.nbytes / 1e9, self.device)
        resident = torch.empty(self.voxels.shape, dtype=torch.float32, device=self.device)
        step = max(1, _CHUNK_VALUES // self.voxels.shape[1])
        for start in range(0, len(self), step):
            # np.array copies: torch does not take read-only memory.
            block = torch.from_numpy(np.array(self.voxels[start : start + step]))
            resident[start : start + step] = block.to(self.device)
        return resident


class ShowerRows:
    """Rows (voxels (B, V) MeV, incident energies (B, 1) MeV) of a split.

    Args:
        store: All showers.
        index: Row numbers of the split, int64, in file order.
    """

    def __init__(self, store: VoxelStore, index: np.ndarray) -> None:
        self.store, self.index = store, index

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        return self.store.gather(self.index[index])


class VoxelRows:
    """Rows (x (B, V), c (B, C)) of a split: preprocessed when they are asked for.

    Args:
        showers: The split's showers in MeV.
        preprocess: Fitted, on the device of the rows.
    """

    def __init__(self, showers: ShowerRows, preprocess: Preprocess) -> None:
        self.showers, self.preprocess = showers, preprocess

    def __len__(self) -> int:
        return len(self.showers)

    @torch.no_grad()
    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        voxels, e_inc = self.showers.rows(index)
        return tuple(self.preprocess(voxels, e_inc))


@torch.no_grad()
def layer_rows(showers: ShowerRows, preprocess: Preprocess) -> RowSource:
    """Rows (layer energies (B, L) MeV, incident energies (B, 1) MeV), summed once, in memory."""
    step = max(1, _CHUNK_VALUES // showers.store.voxels.shape[1])
    contexts = [preprocess.context(*batch) for batch in iterate(showers, step)]
    layers = torch.cat([context.layers for context in contexts])
    e_inc = torch.cat([context.e_inc for context in contexts])
    return TensorRows(layers, e_inc, device=layers.device)
