"""Fixtures of tests that train small classifiers."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Tiny networks wait for each other's threads far longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
