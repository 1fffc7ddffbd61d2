#!/usr/bin/env python
"""How many tensor operations one batch of showers takes, views among them.

    python scripts/benchmarks/operations.py RUN [SHOWERS]

Each of them is a call from Python whatever the batch size: what one shower costs.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model


class Counting(TorchDispatchMode):
    """Counts the operations that are called inside, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.calls[str(function.overloadpacket)] += 1
        return function(*args, **(kwargs or {}))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("showers", type=int, nargs="?", default=100)
    arguments = parser.parse_args()
    model = load_model(arguments.run / "model.pt")[0].eval()
    e_inc = torch.logspace(3, 4.5, arguments.showers)[:, None]
    with Counting() as counting:
        model.sample(e_inc, Noise(1, 0, arguments.showers))
    print(f"{counting.calls.total():,} operations for a batch of {arguments.showers}")
    for name, calls in counting.calls.most_common(10):
        print(f"{calls:8,}  {name}")


if __name__ == "__main__":
    main()
