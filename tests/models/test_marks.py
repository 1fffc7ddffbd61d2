"""Choices by ones and zeros."""

import pytest
import torch

from caloman_cli.models.nn.marks import choose, mark


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_choice_is_exactly_one_of_two(dtype):
    """Also where one of them is so large that the other is lost in a difference."""
    rows = torch.Generator().manual_seed(1)
    yes, no = 10.0 ** (30 * torch.randn(2, 5, 999, generator=rows, dtype=dtype)).clamp(-30, 30)
    which = mark(torch.lt, torch.rand(5, 999, generator=rows, dtype=dtype), 0.5)
    assert which.dtype == dtype
    assert {float(value) for value in which.unique()} == {0.0, 1.0}
    assert torch.equal(choose(which, yes, no), torch.where(which > 0, yes, no))


def test_marks_of_shapes_that_broadcast():
    a, b = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 2.0, 4.0])
    assert mark(torch.le, a, b).tolist() == [[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    assert mark(torch.ge, a[:0], b).shape == (0, 3)
