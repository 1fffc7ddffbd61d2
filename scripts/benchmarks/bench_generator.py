"""Showers per second of the built-in generator, in processor time of one core.

OMP_NUM_THREADS=1 taskset -c 0 python scripts/benchmarks/bench_generator.py
"""

import argparse
import time
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from caloman_cli.data.generator import PRESETS, iterate_generated
from caloman_cli.data.geometry import Geometry

CONF = Path(__file__).resolve().parents[2] / "conf/geometry"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="processor time per repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    print("| geometry | showers/s (median) | lowest | highest | showers timed |")
    print("|---|---|---|---|---|")
    for name in PRESETS:
        geometry = Geometry.from_dict(
            OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
        )
        next(iterate_generated(geometry, PRESETS[name].block, seed=0))  # warm-up
        timed = [rate(geometry, seed, arguments.seconds) for seed in range(arguments.repetitions)]
        rates = [showers / seconds for showers, seconds in timed]
        total = sum(showers for showers, _ in timed)
        print(
            f"| {name} | {np.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} "
            f"| {total:,} |"
        )


def rate(geometry: Geometry, seed: int, seconds: float) -> tuple[int, float]:
    """Generate for some processor time: (showers made, seconds taken)."""
    showers, start = 0, time.process_time()
    for energies, _ in iterate_generated(geometry, 10**9, seed):
        showers += len(energies)
        if time.process_time() - start > seconds:
            break
    return showers, time.process_time() - start


if __name__ == "__main__":
    main()
