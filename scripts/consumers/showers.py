"""Draw showers from a file of ``caloman export`` with ONNX Runtime and numpy, without caloman.

    python scripts/consumers/showers.py photons.onnx 65536 1000 showers.npz

writes 1000 showers of 65,536 MeV. Files of ``noise=inside`` draw from a seed, those of
``noise=input`` are given numbers of a generator of one's own.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

SEED, MOST = 1, 1000  # showers of a call


def noise(ports: list[dict], rows: int, first: int, generator: np.random.Generator) -> dict:
    """What the file wants beside energies, for rows that begin at ``first`` of the sample."""
    found = {}
    for port in ports:
        shape = (rows, port["shape"][1]) if port["shape"][0] == "batch" else port["shape"]
        if port["name"] == "uniform":  # never 0 or 1
            drawn = generator.random(shape).clip(1e-9, 1 - 1e-7)
        elif port["name"] == "normal":
            drawn = generator.standard_normal(shape)
        elif port["name"] in ("seed", "first"):
            drawn = np.array([SEED if port["name"] == "seed" else first])
        else:
            continue
        found[port["name"]] = drawn.astype(port["dtype"])
    return found


def showers(file: str, energies: np.ndarray) -> tuple[np.ndarray, dict]:
    """Voxels [MeV], shape (N, V), for energies [MeV], shape (N,); and the file's facts."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["caloman"])
    if facts["target"] != "plain":
        raise SystemExit(f"{file} is for {facts['target']}: give one of target=plain")
    low, high = facts["energy_range"]
    if not (energies >= low).all() or not (energies <= high).all():
        sys.stderr.write(f"trained at {low:g} to {high:g} MeV: others are extrapolated\n")
    size = MOST if facts["batch"] == "any" else facts["batch"]
    generator, parts = np.random.default_rng(SEED), []
    for first in range(0, len(energies), size):
        rows = energies[first : first + size].astype("float32")[:, None]
        missing = size - len(rows) if facts["batch"] != "any" else 0
        rows = np.concatenate([rows, np.repeat(rows[-1:], missing, 0)])
        given = {"energies": rows, **noise(facts["inputs"], len(rows), first, generator)}
        parts.append(session.run(["voxels"], given)[0][: len(rows) - missing])
    return np.concatenate(parts), facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="of caloman export, .onnx")
    parser.add_argument("energy", type=float, help="incident energy of all [MeV]")
    parser.add_argument("number", type=int, help="of showers")
    parser.add_argument("out", type=Path, help="file of numpy, .npz")
    given = parser.parse_args()
    energies = np.full(given.number, given.energy)
    voxels, facts = showers(given.file, energies)
    np.savez(given.out, energies=energies, voxels=voxels)
    name = facts["geometry"]["name"]
    response = voxels.sum(1).mean() / given.energy
    print(
        f"{len(voxels)} showers of {name}, {voxels.shape[1]} voxels, mean response {response:.4f}"
    )


if __name__ == "__main__":
    main()
