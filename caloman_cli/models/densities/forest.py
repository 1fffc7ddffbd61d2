"""Gradient-boosted trees in the place of a velocity network."""

import io
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, NotNegative, Positive, checked
from caloman_cli.errors import UserError, needed
from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, iterate

_CHUNK = 65_536


@checked
class Forest(Density):
    r"""One ensemble of trees for each time and dimension: the velocity of a flow from noise.

    At each of the times :math:`t_i = i / n`, i = 0 ... n - 1, trees learn
    :math:`x_1 - x_0` from :math:`(1 - t_i) x_0 + t_i x_1` and c, where :math:`x_1` are scaled
    latents, each with ``copies`` draws of noise :math:`x_0`. Samples follow the trees in n steps
    of the solver; at t = 1, where noise is nothing, the velocity is :math:`x_1` itself. Nothing is
    learned by descent: all of it is made at once, before the first step, and a training that is
    cut within begins this stage again. Velocities are constant in every leaf, so there is no
    log_prob.

    The published model has one ensemble for each of the fifteen energies; here c, which holds the
    energy of the particle and of its layers, is seen by all trees.

    Args:
        times: n.
        copies: Draws of noise for each row.
        trees: Trees of an ensemble.
        depth: Of a tree.
        rate: Share of each tree that is taken, the learning rate of boosting.
        reg_lambda: Penalty on the squares of what leaves say.
        subsample: Share of the rows that each tree sees.
        solver: ``heun`` (asks the trees twice a step) or ``euler``, as published.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.

    Raises:
        UserError: XGBoost is not installed; it comes with the extra ``forest``.

    References:
        Jolicoeur-Martineau, Fatras, Kachman (2023), Generating and imputing tabular data via
        diffusion and flow-based gradient-boosted trees, arXiv:2309.09968.
        Cresswell, Kim (2024), Scaling up diffusion and flow-based XGBoost models,
        arXiv:2408.16046.
    """

    kind = "none"

    def __init__(
        self,
        times: Count = 10,
        copies: Count = 20,
        trees: Count = 100,
        depth: Count = 5,
        rate: Positive = 0.3,
        reg_lambda: NotNegative = 0.0,
        subsample: Positive = 1.0,
        solver: Literal["heun", "euler"] = "heun",
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        if subsample > 1:
            raise UserError(f"density.subsample={subsample} is a share: give 1 or less")
        super().__init__(scaler, prune, latents=latents, c_dim=c_dim)
        self.xgboost: Any = needed(
            "xgboost", "xgboost", "'caloman[forest]'", "density=forest", "density=flow_matching"
        )
        self.times, self.copies, self.trees, self.solver = times, copies, trees, solver
        self.settings = {
            "max_depth": depth,
            "eta": rate,
            "reg_lambda": reg_lambda,
            "subsample": subsample,
            "tree_method": "hist",
            "objective": "reg:squarederror",
        }
        self.boosters: list[list[Any]] = []

    def _build(self, dim: int) -> None:
        """Nothing: there are no networks."""

    def prepare(self, train: RowSource) -> None:
        """Grow all trees on rows (z (D,), c (C,)), whose noise is drawn by torch's generator."""
        super().prepare(train)
        rows = [(self.scaler(z)[0].cpu(), c.cpu()) for z, c in iterate(train, _CHUNK)]
        x1, c = (
            torch.cat(part).repeat(self.copies, 1).numpy() for part in zip(*rows, strict=True)
        )
        x0 = torch.randn(x1.shape).numpy()
        seeds = torch.randint(2**31, (self.times,)).tolist()
        settings = {**self.settings, "nthread": torch.get_num_threads()}
        self.boosters = []
        for i, seed in enumerate(seeds):
            t = np.float32(i / self.times)
            seen = self.xgboost.QuantileDMatrix(np.concatenate([(1 - t) * x0 + t * x1, c], 1))
            ensemble = []
            for wanted in (x1 - x0).T:
                seen.set_label(np.ascontiguousarray(wanted))
                ensemble.append(self.xgboost.train({**settings, "seed": seed}, seen, self.trees))
            self.boosters.append(ensemble)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """Squared error of the velocity at fixed draws of noise, summed over dimensions.

        Nothing minimises it; it says how well the trees do on rows that they have not seen.
        """
        x1, c, _ = self.scaled(batch)
        generator = torch.Generator().manual_seed(0)
        x0 = torch.randn(x1.shape, generator=generator)
        times = torch.arange(len(x1)) % self.times
        seen, told = torch.lerp(x0, x1.cpu(), times[:, None] / self.times), c.cpu().numpy()
        found = torch.zeros_like(seen)
        for i in range(self.times):
            velocity = self._velocity(i, seen[times == i].numpy(), told[times.numpy() == i])
            found[times == i] = torch.from_numpy(velocity)
        return (found - (x1.cpu() - x0)).square().sum(1).mean().to(x1.device)

    def get_extra_state(self) -> bytes:
        kept = io.BytesIO()
        raw = [booster.save_raw("ubj") for ensemble in self.boosters for booster in ensemble]
        arrays = [np.frombuffer(bytes(part), np.uint8) for part in raw]
        np.savez_compressed(kept, *arrays, times=np.array(len(self.boosters)))
        return kept.getvalue()

    def set_extra_state(self, state: bytes) -> None:
        with np.load(io.BytesIO(state), allow_pickle=False) as kept:
            times = int(kept["times"])
            found = [self._read(kept[f"arr_{i}"]) for i in range(len(kept.files) - 1)]
        dim = len(found) // max(times, 1)
        if times not in (0, self.times) or len(found) != times * dim:
            raise ValueError(f"{len(found)} ensembles for {times} times, not {self.times}")
        self.boosters = [found[i * dim : (i + 1) * dim] for i in range(times)]

    def _read(self, content: np.ndarray) -> Any:
        booster = self.xgboost.Booster()
        booster.load_model(bytearray(content.tobytes()))
        return booster

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        u = noise.normal(self.scaler.n_active).cpu().numpy()
        if not len(u):
            return torch.from_numpy(u).to(c)
        told = c.cpu().numpy()
        step = np.float32(1 / self.times)
        for i in range(self.times):
            velocity = self._velocity(i, u, told)
            if self.solver == "heun":
                there = self._velocity(i + 1, u + step * velocity, told)
                velocity = (velocity + there) / 2
            u = u + step * velocity
        return torch.from_numpy(u).to(c)

    def _velocity(self, i: int, u: np.ndarray, c: np.ndarray) -> np.ndarray:
        """At time t_i, (B, A)."""
        if i == self.times:
            return u
        seen = np.concatenate([u, c], 1)
        return np.stack([booster.inplace_predict(seen) for booster in self.boosters[i]], 1)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        raise UserError(
            "density=forest samples but has no log_prob: use a density that has, e.g. density=nsf"
        )
