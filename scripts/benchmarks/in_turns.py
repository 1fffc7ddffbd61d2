"""Is one version faster than another? Both on one model in turns, as machines have slow hours.

    git worktree add /tmp/before HEAD~5
    python scripts/benchmarks/in_turns.py RUN SHOWERS.hdf5 /tmp/before . [--n 10000] [--threads 2]

Every round starts each checkout once, in a process of its own that generates n showers at the
file's incident energies several times. Prints ms per shower, the median of each round and of all.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

TIMED = """
import sys, time
from pathlib import Path
import h5py, numpy as np, torch
try:
    from caloman_cli.models.two_step import load_model
    from caloman_cli.models.noise import Noise
except ModuleNotFoundError:  # of 0.1.0
    from caloman_cli.model import load_model
    from caloman_cli.noise import Noise
model_path, showers, n, threads, repeats = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(threads)
model, _ = load_model(Path(model_path))
model.eval()
with h5py.File(showers) as file:
    e_inc = torch.from_numpy(np.resize(file["incident_energies"][:], (n, 1))).float()
for repeat in range(repeats + 1):
    start = time.perf_counter()
    model.sample(e_inc, Noise(0, 0, n))
    if repeat:  # the first one warms up
        print(1e3 * (time.perf_counter() - start) / n)
"""


def timed(checkout: Path, arguments: argparse.Namespace) -> list[float]:
    """Milliseconds per shower of each repetition."""
    numbers = (arguments.n, arguments.threads, arguments.repeats)
    paths = (arguments.run / "model.pt", arguments.showers)
    found = subprocess.run(
        [sys.executable, "-c", TIMED, *(str(each) for each in (*paths, *numbers))],
        check=True, stdout=subprocess.PIPE, text=True, cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(arguments.threads)},
    )  # fmt: skip
    return [float(line) for line in found.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory with a model.pt that all can read")
    parser.add_argument("showers", type=Path, help="file of showers, for its incident energies")
    parser.add_argument("checkouts", type=Path, nargs="+", help="working copies of this project")
    parser.add_argument("--n", type=int, default=10_000, help="showers at once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="in a round")
    arguments = parser.parse_args()
    arguments.run, arguments.showers = arguments.run.resolve(), arguments.showers.resolve()
    medians: dict[Path, list[float]] = {checkout: [] for checkout in arguments.checkouts}
    for _ in range(arguments.rounds):
        for checkout, found in medians.items():
            found.append(statistics.median(timed(checkout.resolve(), arguments)))
    print("| ms per shower | rounds | median |")
    print("|---|---|---:|")
    for checkout, found in medians.items():
        rounds = ", ".join(f"{value:.4g}" for value in found)
        print(f"| {checkout} | {rounds} | {statistics.median(found):.4g} |")


if __name__ == "__main__":
    main()
