"""Milliseconds a shower of an exported file with ONNX Runtime, beside torch without a graph.

    python scripts/benchmarks/exported.py RUN FILE.onnx 1 100 1000

One thread each. The best of several calls: others may use the machine's cores.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from caloman_cli.data.spectrum import draw_known
from caloman_cli.export.check import compared
from caloman_cli.export.files import describe, runner
from caloman_cli.export.sampler import run, sampler
from caloman_cli.models.two_step import load_model
from caloman_cli.runs.directory import find_model

CALLS, SECONDS = 30, 20.0


def best(call: Callable[[], object]) -> float:
    """Seconds of the quickest of some calls, which take some seconds together at most."""
    found, began = [], time.perf_counter()
    while len(found) < CALLS and (time.perf_counter() - began < SECONDS or len(found) < 2):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run directory or model.pt")
    parser.add_argument("file", type=Path, help="what caloman export has made of it, .onnx")
    parser.add_argument("batches", type=int, nargs="+", help="showers of a call")
    given = parser.parse_args()
    file = given.file
    torch.set_num_threads(1)
    model, _ = load_model(find_model(Path(given.run)))
    module = sampler(model, describe(file)["noise"]).eval()
    start = time.perf_counter()
    session = runner(file, "onnx")
    size = file.stat().st_size / 2**20
    print(f"{file}: {size:.1f} MiB, read in {time.perf_counter() - start:.1f} s")
    print("| showers a call | ONNX Runtime [ms] | torch [ms] |\n|---|---|---|")
    for batch in given.batches:
        energies = draw_known(model, np.random.default_rng(1), batch)
        inputs = module.example(torch.as_tensor(energies, dtype=torch.float32), seed=1)
        ours, torchs = best(lambda i=inputs: session(i)), best(lambda i=inputs: run(module, i))
        print(f"| {batch} | {1e3 * ours / batch:.3g} | {1e3 * torchs / batch:.3g} |")
    energies = draw_known(model, np.random.default_rng(2), 1000)
    print(compared(module, session, torch.as_tensor(energies, dtype=torch.float32), None))


if __name__ == "__main__":
    main()
