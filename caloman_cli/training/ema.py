"""An exponential moving average of the weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    r"""Follows the weights w of a model: a <- d a + (1 - d) w after every step.

    The decay rises to its value, d_t = min(d, (1 + t) / (10 + t)), so that the initial weights
    are soon forgotten.

    Args:
        weights: What to follow: parameters, and buffers that go with them.
        decay: d; None switches the average off, then every method leaves the weights alone.

    References:
        Polyak, Juditsky (1992), Acceleration of stochastic approximation by averaging.
    """

    def __init__(self, weights: Sequence[Tensor], decay: float | None) -> None:
        self.weights, self.decay, self.steps = list(weights), decay, 0
        self.average: list[Tensor] = []
        if decay is not None:
            self.average = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def update(self) -> None:
        """Follow one step."""
        if self.decay is None:
            return
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, self.weights, 1 - decay)
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the block, its own after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for mean, weight in zip(self.average, self.weights, strict=self.decay is not None):
            mean.data, weight.data = weight.data, mean.data

    def state_dict(self) -> dict:
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: dict) -> None:
        self.steps = state["steps"]
        for mean, saved in zip(self.average, state["average"], strict=True):
            mean.copy_(saved)
