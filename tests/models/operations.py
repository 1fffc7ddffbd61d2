"""Counts tensor operations in tests."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode


class Counting(TorchDispatchMode):
    """Counts tensor operations by name."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[str(function.overloadpacket)] += 1
        return function(*args, **(kwargs or {}))
