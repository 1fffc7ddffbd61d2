"""The picture and the numbers of docs/why_two_steps.md.

    OMP_NUM_THREADS=1 python scripts/studies/why_two_steps.py

Points lie on a curve in ten dimensions. One flow learns their density in all ten, another one that
of the number that an autoencoder makes of each point; both have the same networks.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE,
    TRUTH,
    figure,
    house_style,
    save,
)
from caloman_cli.models.densities.flow import NSF
from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows

DOCS = Path(__file__).resolve().parents[2] / "docs"
D, N, BATCH, TEST, DRAWN = 10, 2000, 250, 2000, 4000
GRID = np.linspace(-3.2, 3.2, 641)
EDGES = np.linspace(-3.0, 3.0, 41)
MODES = ((0.7, -1.2, 0.35), (0.3, 1.3, 0.5))  # weight, place, width along t


def expected_score(mean: float, width: float, thin: float) -> float:
    """E log q [nats], q = N(x1; mean, width^2) N(x2; 0, thin^2), of x = (x1, 0), x1 ~ N(0, 1)."""
    along = -0.5 * math.log(2 * math.pi) - math.log(width) - (1 + mean**2) / (2 * width**2)
    return along - 0.5 * math.log(2 * math.pi) - math.log(thin)


def curve(t: np.ndarray) -> np.ndarray:
    """Where on the curve t is, shape (N, D)."""
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(D, 2)))[0]
    return np.stack([t, np.sin(1.5 * t)], 1) @ axes.T


def density_of_t(t: np.ndarray) -> np.ndarray:
    parts = [w * np.exp(-0.5 * ((t - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
             for w, m, s in MODES]  # fmt: skip
    return np.sum(parts, 0)


def draw_t(n: int, rng: np.random.Generator) -> np.ndarray:
    weights, places, widths = np.array(MODES).T
    which = rng.choice(len(weights), n, p=weights)
    return places[which] + widths[which] * rng.normal(size=n)


def true_score(t: np.ndarray) -> float:
    """Mean log-density of points per length of the curve [nats]: what a perfect model reaches."""
    length = np.sqrt(1 + (1.5 * np.cos(1.5 * t)) ** 2)
    return float(np.log(density_of_t(t) / length).mean())


def epochs(parameters: list[nn.Parameter], loss: Callable[[Tensor], Tensor], x: Tensor, n: int,
           rate: float) -> Iterator[int]:  # fmt: skip
    """Train for n epochs; says the number of each when it is over."""
    optimizer = torch.optim.Adam(parameters, rate)
    for epoch in range(1, n + 1):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss(x[rows]).backward()
            optimizer.step()
        yield epoch


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(a, b), nn.ELU()]
    return nn.Sequential(*layers[:-1])


class Course:
    """Held-out log p and the distribution along the curve, epoch by epoch."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.scores: list[float] = []
        self.off: list[float] = []
        self.shares = np.zeros(len(EDGES) - 1)

    def add(self, epoch: int, score: float, drawn: np.ndarray) -> None:
        places = curve(GRID)
        nearest = np.concatenate([
            GRID[((part[:, None] - places) ** 2).sum(2).argmin(1)]
            for part in np.array_split(drawn, 20)
        ])  # fmt: skip
        self.shares = np.histogram(nearest, EDGES)[0] / len(drawn)
        self.epochs.append(epoch)
        self.scores.append(score)
        self.off.append(0.5 * float(np.abs(self.shares - expected_shares()).sum()))


def expected_shares() -> np.ndarray:
    fine = np.linspace(EDGES[0], EDGES[-1], 40 * (len(EDGES) - 1) + 1)
    middle = 0.5 * (fine[1:] + fine[:-1])
    return (density_of_t(middle) * np.diff(fine)).reshape(len(EDGES) - 1, -1).sum(1)


def flow(dim: int, z: Tensor) -> NSF:
    model = NSF(n_layers=4, hidden=32, n_blocks=2, latents=Latents(dim), c_dim=0)
    model.prepare(TensorRows(z, torch.zeros(len(z), 0)))
    return model


def train(x: Tensor, test: Tensor, n_epochs: int, every: int) -> dict[str, Course]:
    """A flow of all coordinates, and one of an autoencoder's latents."""
    none, held = torch.zeros(BATCH, 0), torch.zeros(len(test), 0)
    one, two = Course(), Course()
    full = flow(D, x)
    for epoch in epochs([*full.parameters()], lambda b: full.loss((b, none)), x, n_epochs, 1e-3):
        if epoch == 1 or epoch % every == 0:
            with torch.no_grad():
                drawn = full.sample(torch.zeros(DRAWN, 0), Noise(0, 0, DRAWN))
                one.add(epoch, float(full.log_prob(test, held).mean()), drawn.numpy())
    encode, decode = mlp(D, 64, 64, 1), mlp(1, 64, 64, D)
    both = [*encode.parameters(), *decode.parameters()]
    for _ in epochs(both, lambda b: (decode(encode(b)) - b).square().mean(), x, 300, 2e-3):
        pass
    with torch.no_grad():
        z, z_test = encode(x), encode(test)
    volume = half_logdet(decode, z_test).mean()
    latent = flow(1, z)
    parameters = [*latent.parameters()]
    for epoch in epochs(parameters, lambda b: latent.loss((b, none)), z, n_epochs, 1e-3):
        if epoch == 1 or epoch % every == 0:
            with torch.no_grad():
                drawn = decode(latent.sample(torch.zeros(DRAWN, 0), Noise(0, 0, DRAWN)))
                score = latent.log_prob(z_test, held).double().mean() - volume
                two.add(epoch, float(score), drawn.numpy())
    return {"one step: a flow in ten dimensions": one, "two steps: a flow of one latent": two}


def demonstration(ax: Axes) -> None:
    """The right q and a wrong one, by the width that they give to what has none."""
    thin = np.geomspace(3e-4, 1e-1, 50)
    for (mean, width), colour, words in (
        ((0.0, 1.0), TRUTH, "right along the line"), ((1.0, 2.0), GENERATED, "wrong")
    ):  # fmt: skip
        scores = [expected_score(mean, width, s) for s in thin]
        ax.plot(thin, scores, color=colour, label=words)
    for mean, width, s, colour in ((0.0, 1.0, 1e-2, TRUTH), (1.0, 2.0, 1e-3, GENERATED)):
        score = expected_score(mean, width, s)
        ax.plot(s, score, "o", color=colour)
        ax.annotate(f"{score:.3f}", (s, score), (6, 4), textcoords="offset points", fontsize=9)
    ax.set_xscale("log")
    ax.set_xlabel("width s across the line")
    ax.set_ylabel("E log q [nats]")
    ax.set_title("no best likelihood", loc="left")
    ax.legend()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=160)
    args = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    t, t_test = draw_t(N, rng), draw_t(TEST, rng)
    x, test = (torch.from_numpy(curve(values)).float() for values in (t, t_test))
    courses = train(x, test, args.epochs, max(1, args.epochs // 20))
    best, colours = true_score(t_test), (GENERATED, TRUTH)
    right, wrong = expected_score(0, 1, 1e-2), expected_score(1, 2, 1e-3)
    print(f"right, s=1e-2: {right:.3f}; wrong, s=1e-3: {wrong:.3f}; of the curve: {best:.3f}")
    with house_style():
        image = figure(10.5, 3.4, "constrained")
        panels = image.subplots(1, 3)
        demonstration(panels[0])
        panels[1].axhline(best, color="0.3", lw=0.8, ls=":", label="truth")
        middle = 0.5 * (EDGES[1:] + EDGES[:-1])
        panels[2].fill_between(middle, expected_shares(), color=REFERENCE, label="truth")
        for (words, course), colour in zip(courses.items(), colours, strict=True):
            panels[1].plot(course.epochs, course.scores, color=colour, label=words)
            panels[2].plot(middle, course.shares, color=colour, label=words.split(":")[0])
            for i in (0, len(course.epochs) // 4, len(course.epochs) // 2, -1):
                print(f"{words}, epoch {course.epochs[i]}: log p {course.scores[i]:.3f}, "
                      f"total variation along the curve {course.off[i]:.3f}")  # fmt: skip
        panels[1].set_xlabel("epoch")
        panels[1].set_ylabel("log p of held-out points [nats]")
        panels[1].set_title("what training sees", loc="left")
        panels[1].legend()
        panels[2].set_xlabel("place t along the curve")
        panels[2].set_ylabel("share of what is drawn")
        panels[2].set_title("what is drawn", loc="left")
        panels[2].legend()
    print(save(image, DOCS / "images/why_two_steps.png"))


if __name__ == "__main__":
    main()
