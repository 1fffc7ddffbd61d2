#!/usr/bin/env python
"""How fast models draw showers here, beside what the machine's matrix products reach.

    python scripts/benchmarks/speed.py [EXPERIMENT|RUN ...] [--sizes 1 100 10000] [--threads 1 2]
                                       [--device cuda] [--baseline OLD/speed.json] [--out FOLDER]

An experiment is trained for one epoch on 2,000 built-in showers, in FOLDER/runs, where there is no
such run yet: what it draws is poor, what it computes is that of a whole training. Columns:
milliseconds a shower (median); of one shower also the 95th and 99th percentile; tensor operations
of a batch, and how often the host waits for the device in it; the share of the machine's rate of
matrix products, measured in the same minute. With a baseline its time over this one's, both times
the rate of their machines: above 1 is faster. Writes speed.json, speed.md and speed.png.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from caloman_cli.data.spectrum import draw_known
from caloman_cli.evaluation.style import figure, house_style
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import TwoStep, load_model
from caloman_cli.runs.provenance import device_name

EXPERIMENTS = [
    *(f"flagship_{name}" for name in ("photons", "pions", "ds2", "ds3")),
    *(f"caloman_{name}" for name in ("photons", "pions", "ds2", "ds3")),
]
SIZES = (1, 10, 100, 10_000, 50_000)
LATENCIES = 200  # draws of one shower
SECONDS = 20.0  # of a point, at most
MATRIX = 2048
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")


class Counting(TorchDispatchMode):
    """Counts tensor operations, and those among them that need an answer from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.calls[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=EXPERIMENTS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    before = _points(json.loads(arguments.baseline.read_text())) if arguments.baseline else {}
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for threads in arguments.threads if device.type == "cpu" else [1]:
        torch.set_num_threads(threads)
        rate = _matrix_rate(device)
        print(f"{threads} thread(s): matrix products {rate / 1e9:.1f} GFLOP/s", flush=True)
        for name in arguments.models:
            model = load_model(_run(name, arguments.out) / "model.pt", device)[0]
            for size in arguments.sizes:
                where = {"model": Path(name).name, "size": size, "threads": threads}
                point = where | {"rate": rate} | _measured(model, size, device, rate)
                old = before.get(tuple(where.values()))
                if old:
                    ratio = old["ms"] * old["rate"] / (point["ms"] * rate)
                    point["of_baseline"] = ratio
                found.append(point)
                print(_line(point), flush=True)
    facts = {"device": device_name(device), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    whole = facts | {"torch": torch.__version__, "points": found}
    (arguments.out / "speed.json").write_text(json.dumps(whole, indent=1))
    (arguments.out / "speed.md").write_text(_table(whole))
    _picture(whole, arguments.out / "speed.png")
    print(arguments.out / "speed.md")


def _run(name: str, out: Path) -> Path:
    """A run's folder, or that of an experiment after one epoch."""
    if (Path(name) / "model.pt").is_file():
        return Path(name)
    run, detector = out / "runs" / name, name.rpartition("_")[2]
    if not (run / "model.pt").is_file():
        stages = ("energy", "encoder", "density")
        short = [f"trainer.{stage}.{key}" for stage in stages for key in ("epochs=1", "warmup=0")]
        small = ["dataset.builtin.n_train=2000", "dataset.builtin.n_reference=1"]
        chosen = [f"experiment={name}", f"dataset=builtin_{detector}", f"output={run}"]
        command = [sys.executable, "-m", "caloman_cli", "train", *chosen, *small, *short]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return run


def _matrix_rate(device: torch.device) -> float:
    """Floating-point operations a second of a product of two float32 matrices."""
    a, b = torch.randn(2, MATRIX, MATRIX, device=device)
    best = min(_seconds(lambda: torch.mm(a, b), device) for _ in range(8))
    return 2.0 * MATRIX**3 / best


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


@torch.inference_mode()
def _measured(model: TwoStep, size: int, device: torch.device, rate: float) -> dict[str, Any]:
    energies = draw_known(model, np.random.default_rng(1), size)
    e_inc = torch.as_tensor(energies, dtype=torch.float32, device=device)

    def once() -> None:
        model.sample(e_inc, Noise(1, 0, size, device))

    _seconds(once, device)  # warms up
    times: list[float] = []
    most = LATENCIES if size == 1 else 10
    while len(times) < most and (len(times) < 3 or sum(times) < SECONDS):
        times.append(_seconds(once, device))
    # What is done by threads of its own would not be counted: few rows are drawn by one.
    n = min(size, 20)
    with Counting() as counting:
        model.sample(e_inc[:n], Noise(1, 0, n, device))
    with FlopCounterMode(display=False) as flops:
        model.sample(e_inc[:n], Noise(1, 0, n, device))
    of_one = flops.get_total_flops() / n
    middle = statistics.median(times)
    point: dict[str, Any] = {
        "ms": 1e3 * middle / size,
        "operations": counting.calls.total(),
        "waits": sum(counting.calls[name] for name in WAITS),
        "mflop": of_one / 1e6,
        "share": of_one * size / middle / rate,
    }
    if size == 1:
        ordered = sorted(times)
        for percent in (95, 99):
            point[f"p{percent}"] = (
                1e3 * ordered[min(len(ordered) - 1, len(times) * percent // 100)]
            )
    return point


def _points(whole: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {(each["model"], each["size"], each["threads"]): each for each in whole["points"]}


def _line(point: dict[str, Any]) -> str:
    late = f" (95 %: {point['p95']:.1f}, 99 %: {point['p99']:.1f})" if "p95" in point else ""
    ratio = f" | {point['of_baseline']:.2f}" if "of_baseline" in point else " |"
    return (
        f"| {point['model']} | {point['threads']} | {point['size']:,} | {point['ms']:.3g}{late} | "
        f"{point['operations']:,} | {point['waits']} | {point['mflop']:.2f} | "
        f"{point['share']:.3f}{ratio} |"
    )


def _table(whole: dict[str, Any]) -> str:
    rates = {point["threads"]: point["rate"] / 1e9 for point in whole["points"]}
    said = ", ".join(f"{n} thread(s) {rate:.0f} GFLOP/s" for n, rate in rates.items())
    head = ["model", "threads", "batch", "ms a shower", "operations", "waits", "MFLOP a shower"]
    head += ["share of the matrix rate", "faster than the baseline by"]
    lines = [
        f"{whole['device']}, torch {whole['torch']}, {whole['date']}; matrix products: {said}"
    ]
    lines += ["", f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *map(_line, whole["points"])]) + "\n"


def _picture(whole: dict[str, Any], path: Path) -> None:
    """Time a shower over the batch size, a curve a model, at the most threads."""
    threads = max(point["threads"] for point in whole["points"])
    curves: dict[str, list[tuple[int, float]]] = {}
    for point in whole["points"]:
        if point["threads"] == threads:
            curves.setdefault(point["model"], []).append((point["size"], point["ms"]))
    with house_style():
        image = figure(6.8, 4.6, "constrained")
        ax = image.subplots()
        for name, points in curves.items():
            ax.loglog(*zip(*points, strict=True), marker="o", label=name)
        ax.set_xlabel("batch size")
        ax.set_ylabel("time per shower [ms]")
        ax.set_title(f"{whole['device']}, {threads} thread(s), {whole['date']}", fontsize=9)
        ax.grid(True, which="major", linewidth=0.4, color="0.85")
        ax.legend(fontsize=8)
        image.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
