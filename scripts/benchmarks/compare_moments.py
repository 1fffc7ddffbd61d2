"""Compare showers of the built-in generator with published moments of the official data.

    python scripts/benchmarks/compare_moments.py --moments DIR

DIR holds ``<geometry>_layer.json`` and ``<geometry>_voxel.json`` as CaloScore v2 has them: mean,
std, min and max of every preprocessed feature. The moments cover the official reference files, so
they are a yardstick and never training data.

References:
    Mikuni, Nachman (2024), CaloScore v2, arXiv:2308.03847: moments per layer and voxel.
    Amram, Pedro (2023), Denoising diffusion models with geometry adaptation for high fidelity
    calorimeter simulation, arXiv:2308.03876: moments of all voxels together.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from caloman_cli.data.generator import PRESETS, VERSION, iterate_generated
from caloman_cli.data.geometry import Geometry

CONF = Path(__file__).resolve().parents[2] / "conf/geometry"
ALPHA = 1e-6

# Mean and std of logit(voxel / (max_response E_inc)) over all voxels of all showers of the
# official data, as in the constants that come with Amram and Pedro's code.
GLOBAL = {
    "ds1_photons": (-9.9807, 3.1417),
    "ds1_pions": (-11.7610, 2.8432),
    "ds2": (-12.8564, 1.9123),
    "ds3": (-13.4753, 1.1070),
}
SHOWERS = {"ds1_photons": 20000, "ds1_pions": 20000, "ds2": 5000, "ds3": 2000}


class Moments:
    """Running mean and standard deviation of each column."""

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self.sums = np.zeros((2, columns))

    def add(self, rows: np.ndarray) -> None:
        """Add rows, shape (b, columns)."""
        self.rows += len(rows)
        self.sums += rows.sum(0), np.einsum("ij,ij->j", rows, rows)

    @property
    def mean(self) -> np.ndarray:
        return self.sums[0] / self.rows

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.maximum(self.sums[1] / self.rows - self.mean**2, 0))


@dataclass(frozen=True)
class Published:
    """Mean, std, min and max of each feature of the official data, each of shape (columns,)."""

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Published":
        content = json.loads(path.read_text())
        return cls(*(np.ravel(content[key]) for key in ("mean", "std", "min", "max")))

    def logit(self, features: np.ndarray) -> np.ndarray:
        """Logit of features scaled from [min, max] to [0, 1], as the moments were taken."""
        span = self.high - self.low
        scaled = (features - self.low) / np.where(span > 0, span, 1)
        return logit(np.where(span > 0, scaled, 0))


def logit(share: np.ndarray) -> np.ndarray:
    inside = ALPHA + (1 - 2 * ALPHA) * np.clip(share, 0, 1)
    return np.log(inside / (1 - inside))


def layer_features(layers: np.ndarray, energies: np.ndarray, max_response: float) -> np.ndarray:
    """u_0 = E_tot / (max_response E_inc), u_k = E_{k-1} / sum of E_{k-1}, E_k, ...: (b, L)."""
    tail = np.cumsum(layers[:, ::-1], 1)[:, ::-1]
    features = np.empty_like(layers)
    features[:, 0] = tail[:, 0] / (max_response * energies[:, 0])
    features[:, 1:] = _ratio(layers[:, :-1], tail[:, :-1])
    return features


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def compare(name: str, folder: Path, n: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """The rows (quantity, built-in, official data) of one detector."""
    geometry = Geometry.from_dict(OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml")))
    layer_file, voxel_file = (folder / f"{name}_{kind}.json" for kind in ("layer", "voxel"))
    detailed = layer_file.is_file() and voxel_file.is_file()
    if detailed:
        published_layer, published_voxel = Published.read(layer_file), Published.read(voxel_file)
    everywhere, layer, voxel = Moments(1), Moments(geometry.n_layers), Moments(geometry.n_voxels)
    starts = [part.start for part in geometry.slices]
    for energies, voxels32 in iterate_generated(geometry, n, seed):
        voxels = voxels32.astype(np.float64)
        everywhere.add(logit(voxels / (geometry.max_response * energies)).reshape(-1, 1))
        if detailed:
            layers = np.add.reduceat(voxels, starts, axis=1)
            features = layer_features(layers, energies, geometry.max_response)
            layer.add(published_layer.logit(features))
            shares = _ratio(voxels, layers[:, geometry.layer_index])
            voxel.add(published_voxel.logit(shares))

    mean, std = GLOBAL[name]
    yield (
        "logit of E_voxel / (max_response E_inc): mean / std",
        f"{everywhere.mean[0]:.2f} / {everywhere.std[0]:.2f}",
        f"{mean:.2f} / {std:.2f}",
    )
    if not detailed:
        return
    shown = range(geometry.n_layers) if geometry.n_layers <= 8 else (0, 1, 5, 10, 15, 20, 30, 44)
    for k in shown:
        yield (
            f"logit u_{k}: mean / std",
            f"{layer.mean[k]:.2f} / {layer.std[k]:.2f}",
            f"{published_layer.mean[k]:.2f} / {published_layer.std[k]:.2f}",
        )
    for label, ours, theirs in (
        ("logit u_k", layer, published_layer),
        ("logit of E_voxel / E_layer", voxel, published_voxel),
    ):
        yield (
            f"{label}: rms deviation of the means / of the stds",
            f"{rms(ours.mean - theirs.mean):.2f} / {rms(ours.std - theirs.std):.2f}",
            "-",
        )
        yield (
            f"{label}: spread of the means / rms of the stds",
            f"{ours.mean.std():.2f} / {rms(ours.std):.2f}",
            f"{theirs.mean.std():.2f} / {rms(theirs.std):.2f}",
        )


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=Path, required=True, help="folder of the JSON files")
    parser.add_argument("--geometry", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--showers", type=int, help="instead of thousands per detector")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.moments.is_dir():
        parser.error(f"--moments {arguments.moments} is not a folder")
    print(f"Generator version {VERSION}, seed {arguments.seed}.\n")
    print("| detector (showers) | quantity | built-in toy | official data |")
    print("|---|---|---|---|")
    for name in arguments.geometry:
        n = arguments.showers or SHOWERS[name]
        for row in compare(name, arguments.moments, n, arguments.seed):
            print(f"| {name} ({n:,}) | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
