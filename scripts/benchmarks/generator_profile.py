"""Mean response, resolution and longitudinal profile of the built-in electron showers.

python scripts/benchmarks/generator_profile.py
"""

import argparse
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from caloman_cli.data.generator import generate
from caloman_cli.data.generator.medium import TUNGSTEN_SILICON
from caloman_cli.data.geometry import Geometry

CONF = Path(__file__).resolve().parents[2] / "conf/geometry"
BLOCKS = " ▁▂▃▄▅▆▇█"
LAYER_THICKNESS = 3.4  # mm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--showers", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    geometry = Geometry.from_dict(OmegaConf.to_container(OmegaConf.load(CONF / "ds2.yaml")))
    starts = [part.start for part in geometry.slices]
    radiation_lengths = LAYER_THICKNESS / TUNGSTEN_SILICON.radiation_length
    print("| E_inc [GeV] | E_tot / E_inc | resolution | maximum [X0] | zeros | layers 0 to 44 |")
    print("|---|---|---|---|---|---|")
    for energy in (1e3, 1e4, 1e5, 1e6):
        given = np.full(arguments.showers, energy)
        _, voxels = generate(geometry, arguments.showers, arguments.seed, given)
        total = voxels.sum(1, dtype=np.float64)
        profile = np.add.reduceat(voxels.mean(0, dtype=np.float64), starts)
        top = profile.argmax() + np.arange(-3, 4)
        a, b, _ = np.polyfit((top + 0.5) * radiation_lengths, profile[top], 2)
        drawn = np.ceil(8 * profile / profile.max() - 0.5).astype(int)
        print(
            f"| {energy / 1e3:,.0f} | {total.mean() / energy:.3f} "
            f"| {total.std() / total.mean():.1%} | {-b / (2 * a):.1f} "
            f"| {(voxels == 0).mean():.0%} | `{''.join(BLOCKS[height] for height in drawn)}` |"
        )


if __name__ == "__main__":
    main()
