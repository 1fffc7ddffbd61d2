"""Devices: what CUDA is told is the same for every verb."""

import os

import pytest
import torch

from caloman_cli.data.memory import values_at_once
from caloman_cli.runs.device import configure_cuda


@pytest.fixture
def flags(monkeypatch):
    """What CUDA has been told; put back afterwards."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
    )
    yield lambda: (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
    )
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cuda.matmul.allow_tf32 = before[2]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_cuda_is_told_what_was_asked(flags, wanted):
    configure_cuda(torch.device("cuda"), deterministic=wanted[0], tf32=wanted[1])
    assert flags() == wanted
    configure_cuda(torch.device("cpu"), deterministic=not wanted[0], tf32=not wanted[1])
    assert flags() == wanted


def test_what_is_held_at_once_follows_the_device(monkeypatch):
    """Of 8 GiB that are free, and one that torch keeps for itself, sixteen take all."""
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * gib)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * gib)
    assert values_at_once(torch.device("cuda"), 5) == 8 * gib // 64
    assert values_at_once(torch.device("cpu"), 5) == 5
