"""Real showers beside what a decoder makes of their latents: docs/images/manifold_showers.png.

    OMP_NUM_THREADS=1 python scripts/studies/manifold_showers.py RUNS

RUNS is OUT of scripts/studies/latents_number.sh, with the showers that judged. Latents are
posterior means of the shower itself, layer energies its own: no second step is involved. One layer
is drawn, seen along the axis.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from caloman_cli.data.geometry import Geometry, official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.style import colour_map, figure, house_style, save
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model

DOCS = Path(__file__).resolve().parents[2] / "docs"
COLUMNS = (
    ("gaussian_1", 1, "1 latent"),
    ("gaussian_10", 1, "10 latents"),
    ("gaussian_35", 1, "35 latents"),
    ("multiscale_10", 1, "multiscale, a draw"),
    ("multiscale_10", 2, "another draw"),
)
ENERGIES = (1024, 4096, 16384)  # MeV
LAYER, FARTHEST = 2, 250.0  # index, mm


@torch.inference_mode()
def decoded(run: Path, voxels: np.ndarray, energies: np.ndarray, seed: int) -> np.ndarray:
    """Real showers (N, V) [MeV] encoded and decoded; the head draws where it is one that does."""
    model, _ = load_model(run / "model.pt")
    rows, e_inc = torch.from_numpy(voxels), torch.from_numpy(energies).float()
    context = model.preprocess.context(rows, e_inc)
    x, c = model.preprocess(rows, e_inc)
    params = model.encoder.decode(model.encoder.posterior(x, c).mean, c)
    shares = model.encoder.head.sample(params, Noise(seed, 0, len(rows)))
    return np.asarray(model.preprocess.inverse(shares, context))


def picture(columns: dict[str, np.ndarray], geometry: Geometry) -> Figure:
    """Showers down, decoders across: energy of a voxel over its area."""
    layer, part = geometry.layers[LAYER], geometry.slices[LAYER]
    edges = np.asarray(layer.r_edges, dtype=float)
    angles = np.linspace(-np.pi, np.pi, layer.n_alpha + 1)
    area = np.diff(edges**2) * np.pi / layer.n_alpha
    image = figure(1.9 * len(columns), 2.0 * len(ENERGIES), "constrained")
    axes = image.subplots(len(ENERGIES), len(columns), subplot_kw={"projection": "polar"})
    for across, (words, voxels) in enumerate(columns.items()):
        for down, shower in enumerate(voxels[:, part]):
            ax = axes[down, across]
            density = shower.reshape(layer.n_alpha, -1) / area
            highest = columns["Geant4"][down, part].reshape(layer.n_alpha, -1) / area
            norm = LogNorm(1e-6 * highest.max(), highest.max())
            ax.pcolormesh(angles, edges, np.ma.masked_less_equal(density, 0).T,
                          cmap=colour_map("viridis"), norm=norm)  # fmt: skip
            ax.set(xticks=[], yticks=[], ylim=(0, FARTHEST), facecolor="0.93")
            if not down:
                ax.set_title(words, fontsize=9)
            if not across:
                ax.set_ylabel(f"{ENERGIES[down]} MeV", labelpad=8)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, help="OUT of scripts/studies/latents_number.sh")
    given = parser.parse_args()
    geometry = official_geometries()["ds1_photons"]
    showers = Showers.from_files([given.runs / "validation.hdf5"], geometry)
    of_each = [np.flatnonzero(showers.energies[:, 0] == energy)[-1] for energy in ENERGIES]
    energies, voxels = showers.subset(np.sort(of_each)).read(0, len(ENERGIES))
    order = np.argsort(energies[:, 0])
    energies, voxels = energies[order], voxels[order]
    columns = {"Geant4": voxels}
    for name, seed, words in COLUMNS:
        if (given.runs / name / "model.pt").is_file():
            columns[words] = decoded(given.runs / name, voxels, energies, seed)
    with house_style():
        image = picture(columns, geometry)
    print(save(image, DOCS / "images" / "manifold_showers.png"))


if __name__ == "__main__":
    main()
