"""A seed for every moment of a stage, so that no generator's state need be saved."""

import zlib

import numpy as np
import torch

from caloman_cli.models.noise import mix

SPLIT, WEIGHTS, DIMENSION, CALIBRATION, LATENTS = range(5)
"""What the seed of a run is for, beside its stages."""
_PREPARE, _PERMUTE, _STEP, _VALIDATE = range(4)


class Seeds:
    """Seeds of one stage of one run.

    Args:
        seed: The run's seed.
        stage: The stage's name.
    """

    def __init__(self, seed: int, stage: str) -> None:
        self._keys = seed, zlib.crc32(stage.encode())

    def prepare(self) -> None:
        """Seed torch for what is computed before the first step."""
        torch.manual_seed(mix(*self._keys, _PREPARE))

    def step(self, number: int) -> None:
        """Seed torch for one training step."""
        torch.manual_seed(mix(*self._keys, _STEP, number))

    def validation(self, batch: int) -> None:
        """Seed torch for one validation batch: the same noise in every epoch."""
        torch.manual_seed(mix(*self._keys, _VALIDATE, batch))

    def batches(self, epoch: int, n: int, count: int) -> list[np.ndarray]:
        """An epoch's batches: each of n rows once, sizes that differ by one at most."""
        order = np.random.default_rng(mix(*self._keys, _PERMUTE, epoch)).permutation(n)
        return np.array_split(order, count)
