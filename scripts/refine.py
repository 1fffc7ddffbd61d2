"""What refinement by a classifier would gain: of several showers, keep one it finds real.

    python scripts/refine.py RUN TRAIN.hdf5 [--mode low] [--candidates 4] [--seed 1]

A classifier learns generated from real showers on one half of the train file. At the energies of
the other half, one of several generated showers is drawn with the classifier's odds as weights
(sampling, importance resampling). Prints the AUC of new classifiers on that half: of first
candidates and of those that were kept.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caloman_cli.data.showers import Showers
from caloman_cli.metrics.classifier.inputs import LowLevelInput
from caloman_cli.metrics.classifier.splits import Split, split_sizes
from caloman_cli.metrics.classifier.training import fit, logits, new_network
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
from caloman_cli.models.noise import Noise, mix
from caloman_cli.models.two_step import load_model

PRESET, BATCH = "small", 1000


class Rows:
    """A classifier's inputs (N, W) in memory."""

    def __init__(self, inputs: np.ndarray) -> None:
        self.inputs, self.width = torch.from_numpy(inputs), inputs.shape[1]

    def rows(self, index: np.ndarray) -> Tensor:
        return self.inputs[torch.from_numpy(index)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("showers", type=Path)
    parser.add_argument("--mode", choices=["low", "low_normed"], default="low")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    model, _ = load_model(arguments.run / "model.pt")
    rng = np.random.default_rng(arguments.seed)
    geometry, drawn = model.geometry, 0

    def generate(energies: np.ndarray) -> np.ndarray:
        nonlocal drawn
        drawn += 1
        noise = Noise(mix(arguments.seed, drawn), 0, len(energies))
        return model.sample(torch.from_numpy(energies).float(), noise).numpy()

    real = Showers.from_files([arguments.showers], geometry)
    energies, voxels = real.read(0, len(real))
    order = rng.permutation(len(real))
    learned, judged = order[::2], order[1::2]

    test = ClassifierTest(arguments.mode, PRESET, seed=arguments.seed)
    plan = test.settings.plan(len(learned), geometry)
    inputs = LowLevelInput(geometry, plan.threshold, arguments.mode == "low_normed")
    e, n = energies[learned], len(learned)
    source = Rows(np.concatenate([inputs(e, voxels[learned]), inputs(e, generate(e))]))
    train, select = split_sizes(n, None)
    rows = rng.permutation(n)
    split = Split(*(np.concatenate([p, p + n]) for p in np.split(rows, [train, train + select])))
    network = new_network(plan.units, source.width, geometry, 1, rng, torch.device("cpu"))
    labels = (np.arange(2 * n) < n).astype(np.int64)
    # Odds are weights, so probabilities have to be right.
    fit(network, source, labels, split, plan.epochs, test.settings, rng, "cross_entropy")

    e, n = energies[judged], len(judged)
    candidates = np.stack([generate(e) for _ in range(arguments.candidates)])
    odds = np.stack(
        [logits(network, Rows(inputs(e, x)), np.arange(n), BATCH)[:, 0] for x in candidates]
    )
    chosen = np.argmax(odds + rng.gumbel(size=odds.shape), 0)  # in proportion to exp(odds)
    weight = np.exp(odds)
    effective = weight.sum() ** 2 / np.square(weight).sum() / weight.size
    print(f"effective share of the sample under the weights {effective:.3f}")
    reference = Showers.from_arrays(e, voxels[judged], geometry)
    for name, kept in (("first", candidates[0]), ("kept", candidates[chosen, np.arange(n)])):
        generated = Showers.from_arrays(e, kept, geometry)
        for mode in (arguments.mode, "high"):
            scores = ClassifierTest(mode, PRESET, repeats=2, seed=arguments.seed)(
                reference, generated
            )
            print(f"{name}: AUC {mode} {scores['auc']:.4f} +- {scores['auc_error']:.4f}")


if __name__ == "__main__":
    main()
