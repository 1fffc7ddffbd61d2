#!/usr/bin/env python
"""FuseMix on showers seen twice: the numbers of docs/notebook/2026-11-fusemix.md.

python scripts/studies/fusemix.py

One cascade of the built-in generator is cut into voxels in the mesh of dataset 2 and in that of
dataset 3: the same shower, with spots of its own in each. Voxels are shares of their layer, so
neither the energy nor that of a layer gives a pair away. Of each mesh principal components are
learned and frozen; small networks, the fusion adapters, then learn a common space from pairs
alone, by the symmetric InfoNCE, and a shower of one mesh is looked for among all of the other.
With FuseMix each step learns from mixtures of two pairs, the same shares of both in either mesh.

References:
    Vouitsis, Liu, Gorti, Villecroze, Cresswell, Yu, Loaiza-Ganem, Volkovs (2023), Data-efficient
    multimodal fusion on a single GPU, arXiv:2312.10144.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from tabulate import tabulate
from torch import Tensor, nn

from caloman_cli.data.generator import PRESETS, draw_energies
from caloman_cli.data.generator.voxelise import voxelise
from caloman_cli.data.geometry import Geometry, official_geometries
from caloman_cli.models.nn.mlp import MLP

MESHES = ("ds2", "ds3")
WIDTH, COMMON = 256, 128
COOLEST, WARMEST, FIRST = 1e-3, 0.5, 0.07  # temperatures of the InfoNCE
BATCH, BLOCK = 256, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[500, 2000], help="to learn from")
    parser.add_argument("--test", type=int, default=1000, help="pairs to find again")
    parser.add_argument("--latents", type=int, default=32, help="components of each mesh")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/fusemix.json"))
    args = parser.parse_args()
    showers = [
        np.concatenate(part) for part in zip(*seen(max(args.pairs) + args.test), strict=True)
    ]
    rows = []
    for n in args.pairs:
        a, b = (latents(x, n, args.test, args.latents) for x in showers)
        row: dict[str, float] = {"pairs": n, "chance": 1 / args.test}
        row["linear map"] = recall(*mapped(a, b, n), args.test)
        for alpha, name in ((0.0, "no mixup"), (1.0, "FuseMix")):
            found = []
            for seed in range(args.seeds):
                fuse = fused(a[:n], b[:n], alpha, args.steps, seed)
                found.append(recall(*(fuse[i](x[n:]) for i, x in enumerate((a, b))), args.test))
            row[name], row[f"{name}, std"] = float(np.mean(found)), float(np.std(found, ddof=1))
        rows.append(row)
        print(tabulate([row], headers="keys", floatfmt=".3f"), flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"of": vars(args) | {"out": str(args.out)}, "rows": rows}))


def seen(n: int, seed: int = 0) -> Iterator[list[np.ndarray]]:
    """Voxels' shares of their layer in both meshes, of n cascades, block by block."""
    meshes = [official_geometries()[name] for name in MESHES]
    generator = np.random.default_rng(seed)
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        energies = draw_energies(generator, meshes[0], rows)
        cascade = PRESETS[MESHES[0]].simulate(generator, energies)
        yield [shares(voxelise(generator, cascade, m, m.threshold), m) for m in meshes]


def shares(voxels: np.ndarray, mesh: Geometry) -> np.ndarray:
    """Square roots of the shares of a layer, which vary alike for bright and faint voxels."""
    layers = voxels.reshape(len(voxels), mesh.n_layers, -1)
    whole = layers.sum(2, keepdims=True)
    return np.sqrt(layers / np.where(whole > 0, whole, 1)).reshape(len(voxels), -1)


def latents(x: np.ndarray, n: int, test: int, dim: int) -> Tensor:
    """Of the first n rows and the last, whitened principal components that the first make."""
    pca = PCA(dim, whiten=True, svd_solver="randomized", random_state=0).fit(x[:n])
    return torch.from_numpy(pca.transform(np.concatenate([x[:n], x[-test:]]))).float()


def mapped(a: Tensor, b: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """What a linear map makes of the last rows of a, beside those of b."""
    ridge = Ridge(1.0).fit(a[:n].numpy(), b[:n].numpy())
    return torch.from_numpy(ridge.predict(a[n:].numpy())).float(), b[n:]


def fused(a: Tensor, b: Tensor, alpha: float, steps: int, seed: int) -> Sequence[nn.Module]:
    """Adapters of two kinds of latents, learned from pairs.

    Args:
        a: Latents of one kind, shape (N, D).
        b: Of the other, row i of both is a pair.
        alpha: Mixtures have the shares lambda and 1 - lambda of Beta(alpha, alpha); 0: none.
        steps: Of Adam.
        seed: Of weights, batches and mixtures.
    """
    torch.manual_seed(seed)
    adapters = nn.ModuleList(MLP(x.shape[1], [WIDTH] * 2, COMMON, "silu") for x in (a, b))
    temperature = nn.Parameter(torch.tensor(FIRST))
    optimizer = torch.optim.AdamW([*adapters.parameters(), temperature], 1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        i, j = (torch.randperm(len(a))[:BATCH] for _ in range(2))
        lam = float(torch.distributions.Beta(alpha, alpha).sample()) if alpha else 1.0
        both = zip(adapters, (a, b), strict=True)
        mixed = [adapter(lam * x[i] + (1 - lam) * x[j]) for adapter, x in both]
        alike = likeness(*mixed) / temperature.clamp(COOLEST, WARMEST)
        own = torch.arange(len(alike))
        cross = nn.functional.cross_entropy
        optimizer.zero_grad()
        ((cross(alike, own) + cross(alike.T, own)) / 2).backward()
        optimizer.step()
        schedule.step()
    return adapters.eval()


def likeness(p: Tensor, q: Tensor) -> Tensor:
    """Cosines of all pairs of rows, shape (N, M)."""
    return nn.functional.normalize(p) @ nn.functional.normalize(q).T


@torch.no_grad()
def recall(p: Tensor, q: Tensor, n: int) -> float:
    """How often the most alike of the other n rows is one's own, over both directions."""
    alike, own = likeness(p, q), torch.arange(n)
    found = [(table.argmax(1) == own).double().mean() for table in (alike, alike.T)]
    return float(sum(found)) / 2


if __name__ == "__main__":
    main()
