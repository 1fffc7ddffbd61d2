"""Separation powers as the official script makes them of files as they are: the slow twin.

Written from the description of its rules: sums and logarithms in the numbers of the file,
coordinates in float64, densities of what lies within the bins.
"""

from pathlib import Path

import h5py
import numpy as np

from caloman_cli.data.geometry import Geometry, Layer

WIDE = (12, 13, 14)  # layers of dataset 1 with wide ranges


def official_separations(
    paths: list[Path], geometry: Geometry, dtype: type | None = None
) -> dict[str, float]:
    """By our names; NaN where a histogram is empty.

    Args:
        paths: Reference and generated file.
        geometry: Of both.
        dtype: Convert the voxels first. None: as they are.
    """
    sides = []
    for path in paths:
        with h5py.File(path) as file:
            voxels, energies = file["showers"][:], file["incident_energies"][:].squeeze(1)
        voxels = voxels if dtype is None else voxels.astype(dtype)
        voxels[voxels < geometry.threshold] = 0
        sides.append((voxels, energies))
    (real, real_energies), (made, made_energies) = sides
    found = {}
    ratios = [v.sum(axis=-1) / e for v, e in sides]
    found["E_ratio"] = separation(*ratios, np.linspace(0.5, 1.5, 101))
    for number, energy in enumerate(geometry.incident_energies or []):
        chosen = [
            ratio[(e >= energy) & (e < 2 * energy)]
            for ratio, (_, e) in zip(ratios, sides, strict=True)
        ]
        narrow = geometry.particle == "photon" and number > 3
        edges = np.linspace(0.9, 1.1, 21) if narrow else np.linspace(0.4, 1.4, 21)
        found[f"E_ratio_at/{energy:.12g}"] = separation(*chosen, edges)
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        columns = [layer_columns(layer, v[:, part]) for v, _ in sides]
        edges = layer_edges(geometry, layer)
        low, high = np.log10(geometry.threshold), np.log10(columns[0]["E_layer"].max())
        edges["E_layer"] = np.logspace(low, high, 40)
        for name, values in columns[0].items():
            key = f"{name}/{layer.id}"
            found[key] = separation(values, columns[1][name], edges[name])
    edges = np.logspace(np.log10(geometry.threshold), np.log10(real.max()), 50)
    return found | {"voxel": separation(real.flatten(), made.flatten(), edges)}


def layer_columns(layer: Layer, voxels: np.ndarray) -> dict[str, np.ndarray]:
    """Features of one layer, each quantity on its own."""
    r_edges = np.array(layer.r_edges, np.float64)
    angles = -np.pi + (np.arange(layer.n_alpha) + 0.5) * 2 * np.pi / layer.n_alpha
    alpha, r = np.meshgrid(angles, (r_edges[1:] + r_edges[:-1]) / 2, indexing="ij")
    axes = {"r": r}
    if layer.n_alpha > 1:
        axes |= {"eta": r * np.cos(alpha), "phi": r * np.sin(alpha)}
    total = voxels.sum(axis=-1)
    columns = {"E_layer": total, "sparsity": 1 - np.mean(voxels > 0, axis=-1)}
    for name, x in axes.items():
        centre = (x.flatten() * voxels).sum(axis=-1) / (total + 1e-16)
        square = (x.flatten() ** 2 * voxels).sum(axis=-1) / (total + 1e-16)
        columns[f"EC_{name}"] = centre
        columns[f"width_{name}"] = np.sqrt(np.maximum(square - centre**2, 0))
    return columns


def layer_edges(geometry: Geometry, layer: Layer) -> dict[str, np.ndarray]:
    if geometry.name in ("ds2", "ds3"):
        centre, width, centre_r, width_r = 30, 30, 42, 20
    elif layer.id in WIDE:
        centre, width, centre_r, width_r = 500, 400, 1500, 1500
    else:
        centre, width, centre_r, width_r = 100, 100, 500, 500
    return {
        **{f"EC_{axis}": np.linspace(-centre, centre, 101) for axis in ("eta", "phi")},
        **{f"width_{axis}": np.linspace(0, width, 101) for axis in ("eta", "phi")},
        "EC_r": np.linspace(0, centre_r, 101),
        "width_r": np.linspace(0, width_r, 101),
        "sparsity": np.linspace(0, 1, 21),
    }


def separation(real: np.ndarray, made: np.ndarray, edges: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        p, q = (np.histogram(x, edges, density=True)[0] * np.diff(edges) for x in (real, made))
    return float(0.5 * ((p - q) ** 2 / (p + q + 1e-16)).sum())
