"""Every encoder x density x head that fits trains, resumes, samples and is read again.

Which cells are tried, says ``grid.py``.
"""

import os

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.kinds import KINDS
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import plain_state
from caloman_cli.models.two_step import load_model, save_model
from tests.contracts.grid import (
    ALL,
    DETECTORS,
    TRAINED,
    Cell,
    PowerCut,
    config,
    covering,
    fitting,
    thinnest,
    trained,
    untrained,
)
from tests.contracts.groups import options, showers

FITTING = fitting()
COVERING = covering(FITTING)
DEFAULT = set(thinnest(COVERING))
TRIED = FITTING if ALL else COVERING
CELLS = [
    pytest.param(cell, id="-".join(cell), marks=() if cell in DEFAULT else pytest.mark.slow)
    for cell in TRIED
]


@pytest.fixture
def _quick_disk(monkeypatch):
    """Nobody cuts this machine's power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.usefixtures("_quick_disk")
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_of_the_grid(cell, tmp_path):
    try:
        untrained(cell)
    except UserError as refusal:
        assert "\n" not in str(refusal)
        assert "use " in str(refusal) or "give " in str(refusal)
        pytest.skip(f"does not fit: {refusal}")
    model = trained(cell, tmp_path / "whole")

    for stage in TRAINED:
        if list(getattr(model, stage).parameters()):  # others have no second epoch
            with pytest.raises(PowerCut):
                trained(cell, tmp_path / "cut", cut=stage)
            assert not (tmp_path / f"cut/{stage}/done.json").exists()
    resumed = plain_state(trained(cell, tmp_path / "cut"))
    for name, value in plain_state(model).items():
        other = resumed[name]
        assert torch.equal(value, other) if torch.is_tensor(value) else value == other, name

    save_model(tmp_path / "model.pt", model, config(cell))
    again, _ = load_model(tmp_path / "model.pt")
    e_inc = torch.logspace(3, 5, 6)[:, None]
    drawn = model.sample(e_inc, Noise(1, 0, 6))
    assert torch.isfinite(drawn).all()
    assert (drawn >= 0).all()
    assert torch.equal(again.sample(e_inc, Noise(1, 0, 6)), drawn)

    assert model.kind == again.kind
    assert model.kind in KINDS
    voxels, e_inc = showers(DETECTORS[cell.detector], 3)
    if model.kind == "none":
        with pytest.raises(UserError):
            model.log_prob(voxels, e_inc, draws=2)
    else:
        with torch.no_grad():
            assert not model.log_prob(voxels, e_inc, draws=2).isnan().any()


def test_the_covering_has_every_pair_and_the_default_every_option():
    for detector in DETECTORS:
        here = {cell for cell in COVERING if cell.detector == detector}
        every = {cell for cell in FITTING if cell.detector == detector}
        for a, b in ((0, 1), (1, 2), (0, 2)):
            assert {(c[a], c[b]) for c in here} == {(c[a], c[b]) for c in every}
    for place in range(4):
        assert {cell[place] for cell in DEFAULT} == {cell[place] for cell in FITTING}
    for place, group in enumerate(("encoder", "density", "head")):
        assert {cell[place] for cell in FITTING} == set(options(group))
    assert len(COVERING) < len(FITTING) / 3


def test_a_covering_is_one():
    """With a pair that only one cell has, and one that none has."""
    cells = [Cell(e, d, h, "x") for e in "abc" for d in "de" for h in "fgh"]
    cells = [c for c in cells if (c.encoder, c.head) != ("a", "f") and c[:2] != ("b", "e")]
    cells = [c for c in cells if c.head != "h" or c.encoder == "c"]
    found = covering(cells)
    assert set().union(*(c.pairs for c in found)) == set().union(*(c.pairs for c in cells))
    assert len(found) <= 9 < len(cells)
