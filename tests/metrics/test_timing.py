"""The timing sweep: its structure, its bounds, what cannot be measured. No time is asserted."""

from types import SimpleNamespace

import pytest
import torch

from caloman_cli.data.spectrum import Spectrum
from caloman_cli.errors import UserError
from caloman_cli.evaluation import timing
from caloman_cli.evaluation.components import Timing
from caloman_cli.evaluation.timing import environment, is_out_of_memory, sweep
from caloman_cli.evaluation.timing_points import TimingSettings

CPU = torch.device("cpu")


class Fake(torch.nn.Module):
    """Copies the energies into all voxels; refuses batches above a size, as a full device does."""

    def __init__(
        self, n_voxels, largest=10**9, error="DefaultCPUAllocator: can't allocate memory"
    ):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.n_voxels, self.largest, self.error, self.batches = n_voxels, largest, error, []

    def generating_parameters(self):
        return 2

    def sample(self, e_inc, noise):
        assert torch.is_inference_mode_enabled()
        assert noise.n == len(e_inc)
        self.batches.append(len(e_inc))
        if len(e_inc) > self.largest:
            raise RuntimeError(self.error)
        return e_inc.expand(-1, self.n_voxels)


def points_of(geometry, model, tmp_path, **settings):
    energies = torch.full((4, 1), 1e3).numpy()
    chosen = TimingSettings(**{"batch_sizes": (8, 1), "repeats": 3, "warmup": 1, **settings})
    points = sweep(model, energies, geometry, CPU, tmp_path, chosen)
    assert list(tmp_path.iterdir()) == []
    return points


def clock(monkeypatch, model, cost, writing=0.0, call=0.0):
    """A clock by which a batch takes ``cost(size)``, to write a shower of it ``writing`` and the
    batch ``call`` [s]."""

    def seconds(once, device):
        before = len(model.batches)
        once()
        made = model.batches[before:]
        file = "_end_to_end" in once.__qualname__
        return sum(map(cost, made)) + (writing * sum(made) + call * len(made) if file else 0.0)

    monkeypatch.setattr(timing, "_seconds", seconds)


def test_every_batch_size_twice(tiny_geometry, tmp_path):
    model = Fake(12)
    points = points_of(tiny_geometry, model, tmp_path, min_showers=16)
    assert [(p.measure, p.batch_size, p.showers) for p in points] == [
        ("generation", 1, 1), ("generation", 8, 8), ("end to end", 1, 16), ("end to end", 8, 16),
    ]  # fmt: skip
    assert all(p.status == "ok" and p.repeats == 3 for p in points)
    assert all(p.lower <= p.median <= p.upper for p in points)
    # (warm-up + 3) calls of one batch, then of 16 / batch size
    assert model.batches == [1] * 4 + [8] * 4 + [1] * 64 + [8] * 8


def test_out_of_memory_is_a_row_and_larger_batches_are_not_tried(tiny_geometry, tmp_path):
    model = Fake(12, largest=8)
    points = points_of(tiny_geometry, model, tmp_path, batch_sizes=(8, 16, 32), min_showers=1)
    assert [p.status for p in points] == ["ok", "out of memory", "out of memory"] * 2
    assert "can't allocate" in points[1].note
    assert "batch 16" in points[2].note
    assert points[1].median is None
    assert 32 not in model.batches


def test_other_errors_are_not_hidden(tiny_geometry, tmp_path):
    with pytest.raises(RuntimeError, match="shape"):
        points_of(tiny_geometry, Fake(12, 0, "shape mismatch"), tmp_path)


def test_a_batch_beyond_the_memory_limit_is_predicted_not_tried(
    tiny_geometry, tmp_path, monkeypatch
):
    monkeypatch.setattr(timing, "_memory", lambda usage, before: 100.0)
    model = Fake(12)
    points = points_of(
        tiny_geometry, model, tmp_path, batch_sizes=(100, 100_000), max_memory=1.0, min_showers=1
    )
    assert [p.status for p in points[:2]] == ["ok", "out of memory"]
    assert "100,000 MiB" in points[1].note
    assert 100_000 not in model.batches


def test_a_point_that_would_take_too_long_is_a_row(tiny_geometry, tmp_path, monkeypatch):
    model = Fake(12)
    clock(monkeypatch, model, lambda size: 2.0 * size)
    points = points_of(tiny_geometry, model, tmp_path, max_seconds=5.0, min_showers=1)
    assert [(p.status, p.repeats) for p in points] == [("ok", 2), ("too slow", 0)] * 2
    assert points[0].note == "2 of 3 repetitions in 5 s"
    assert points[1].note == "about 16 s, judged by batch 2, max_seconds=5"
    assert points[3].note == "as its generation"
    assert set(model.batches) == {1, 2}


def test_a_batch_costs_less_than_its_showers_alone(tiny_geometry, tmp_path, monkeypatch):
    """15 ms for one shower, 25 ms for a hundred: nothing is given up for the first number."""
    model = Fake(12)
    clock(monkeypatch, model, lambda size: 1e-3 * max(15.0, 0.25 * size))
    sizes = {"batch_sizes": (1, 100, 1000, 10_000), "min_showers": 1000}
    points = points_of(tiny_geometry, model, tmp_path, max_seconds=5.0, **sizes)
    assert [p.status for p in points] == ["ok"] * 8
    # The clock takes writing for nothing.
    assert [p.median for p in points] == pytest.approx([15.0, 0.25, 0.25, 0.25] * 2)
    assert [p.showers for p in points[4:]] == [333, 1000, 1000, 10_000]


def test_one_slow_shower_does_not_condemn_a_batch(tiny_geometry, tmp_path, monkeypatch):
    """100 ms for one shower and for a hundred: 10 s by the first number, max_seconds=5."""
    model = Fake(12)
    clock(monkeypatch, model, lambda size: max(0.1, 1e-3 * size))
    points = points_of(tiny_geometry, model, tmp_path, batch_sizes=(1, 100), max_seconds=5.0)
    assert [p.median for p in points if p.batch_size == 100] == pytest.approx([1.0, 1.0])


def test_writing_that_takes_long_is_foreseen(tiny_geometry, tmp_path, monkeypatch):
    """0.1 ms to generate, 1 ms to write: 10,000 showers are too many for 5 s, 1,000 are not."""
    model = Fake(12)
    clock(monkeypatch, model, lambda size: 1e-4 * size, writing=1e-3)
    sizes = {"batch_sizes": (100, 1000, 10_000), "min_showers": 1000}
    points = points_of(tiny_geometry, model, tmp_path, max_seconds=5.0, **sizes)
    assert [p.status for p in points] == ["ok"] * 5 + ["too slow"]
    assert points[5].note == "about 11 s, judged by smaller files, max_seconds=5"


def test_what_a_call_costs_is_not_taken_for_writing(tiny_geometry, tmp_path, monkeypatch):
    """10 ms a written batch: so much for one shower alone, nothing for each of a thousand."""
    model = Fake(12)
    clock(monkeypatch, model, lambda size: 1e-3 * size, call=1e-2)
    points = points_of(tiny_geometry, model, tmp_path, batch_sizes=(1, 1000), max_seconds=5.0)
    assert [p.median for p in points] == pytest.approx([1.0, 1.0, 11.0, 1.01])


def test_a_batch_that_was_generated_once_is_written_once(tiny_geometry, tmp_path, monkeypatch):
    """The smallest batch is always tried; a first call may be slow."""
    model = Fake(12)
    clock(monkeypatch, model, lambda size: 7.0)
    points = points_of(tiny_geometry, model, tmp_path, batch_sizes=(100,), max_seconds=5.0)
    assert [p.median for p in points] == [70.0, 70.0]


def test_slow_batches_are_written_as_often_as_time_allows(tiny_geometry, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "_seconds", lambda once, device: (once(), 2.0)[1])
    settings = {"batch_sizes": (3,), "max_seconds": 5.0, "min_showers": 16}
    generation, end_to_end = points_of(tiny_geometry, Fake(12), tmp_path, **settings)
    assert (generation.showers, generation.median) == (3, 2000 / 3)
    assert (end_to_end.showers, end_to_end.status) == (6, "ok")  # 18 if there were time


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("alloc"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, memory):
    assert is_out_of_memory(error) is memory


def test_the_energies_are_those_that_the_model_was_trained_on(tiny_geometry, tmp_path):
    seen = []

    class Known(Fake):
        geometry, spectrum = tiny_geometry, Spectrum((2048.0,), (1.0,))

        def sample(self, e_inc, noise):
            seen.append(e_inc)
            return super().sample(e_inc, noise)

    made = SimpleNamespace(
        geometry=tiny_geometry, model=Known(12), seed=1, device=CPU, output=tmp_path,
        draw=lambda stem, image, caption: None,
    )  # fmt: skip
    Timing([1, 8], repeats=1, warmup=0, min_showers=1)(made)
    assert (torch.cat(seen) == 2048).all()


def test_environment_says_what_a_time_depends_on():
    where = environment(Fake(12), CPU)
    assert (where["parameters"], where["parameters_training_only"]) == (2, 1)
    assert where["dtype"] == "float32"
    assert where["threads"] == torch.get_num_threads()


@pytest.mark.parametrize("wrong", [{"batch_sizes": ()}, {"repeats": 0}, {"max_seconds": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(UserError, match=f"TimingSettings: {next(iter(wrong))}="):
        TimingSettings(**wrong)
