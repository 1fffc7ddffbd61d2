"""Gradient-boosted trees in the place of a network that takes off noise."""

import logging
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt, Lt
from torch import Tensor
from tqdm import tqdm

from caloman_cli.config.values import Count, Fraction, Natural, NotNegative, Positive, checked
from caloman_cli.data.files import replacing
from caloman_cli.errors import UserError, needed
from caloman_cli.models.densities.base import Density, Noising
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.boosting import from_bytes, grow, read, to_bytes
from caloman_cli.models.nn.energy_classes import EnergyClasses
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.nn.tree_targets import DiffusionTarget, FlowTarget
from caloman_cli.models.noise import Noise, mix
from caloman_cli.models.trainable import RowSource, iterate

_CHUNK = 65_536
_FACTS = ("energies", "low", "width")

log = logging.getLogger(__name__)


@checked
class Forest(Density):
    r"""An ensemble of trees for each time, which says where noisy latents came from.

    ``target=flow``: trees learn the velocity :math:`x_1 - x_0` of a straight way from noise to
    latents, see :class:`~caloman_cli.models.nn.tree_targets.FlowTarget`; ``target=vp``: the
    noise in a variance-preserving diffusion, see
    :class:`~caloman_cli.models.nn.tree_targets.DiffusionTarget`. Each latent is learned from with
    ``copies`` draws of noise. Nothing is learned by descent: all trees are grown before the first
    step. The ensembles that are done are kept in the run's directory until the stage is, so a
    training that was cut goes on behind them. Beyond what they have seen trees know nothing, so
    where a latent came from is looked for within the range of those of the training. What trees
    say is constant in every leaf, so there is no log_prob.

    What trees are told is one of:

    - ``columns``: all of c, beside :math:`x_t`;
    - ``classes``: ensembles of their own for each value of the first condition, the energy of the
      particle, which has to take few; the rest of c is columns;
    - ``classes_only``: the same, and nothing but :math:`x_t`, as published.

    Args:
        target: ``flow`` or ``vp``.
        condition: ``columns``, ``classes`` or ``classes_only``.
        times: Of ensembles, and steps of a sample.
        copies: Draws of noise for each row.
        trees: Of each dimension in an ensemble, at most.
        depth: Of a tree.
        rate: Share of each tree that is taken, the learning rate of boosting.
        reg_lambda: Penalty on the squares of what leaves say.
        subsample: Share of the rows that each tree sees.
        patience: Rounds without a better error on fresh noise that end an ensemble; 0: none do.
        joint: Trees whose leaves say all dimensions at once, in the place of trees for each.
        min_max: Scale each class to [-1, 1], as published; noise has unit width.
        solver: ``heun`` (asks the trees twice a step), ``euler``, or ``euler_maruyama`` of the
            reverse stochastic equation (``vp`` only). Published: euler for flow, euler_maruyama
            for vp.
        beta_min: Of ``vp``.
        beta_max: Of ``vp``.
        eps: The last time of ``vp``.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    Raises:
        UserError: XGBoost is not installed (it comes with the extra ``forest``), or the settings
            do not fit together.

    References:
        Jolicoeur-Martineau, Fatras, Kachman (2023), Generating and imputing tabular data via
        diffusion and flow-based gradient-boosted trees, arXiv:2309.09968.
        Cresswell, Kim (2024), Scaling up diffusion and flow-based XGBoost models,
        arXiv:2408.16046 (joint trees, patience, classes scaled one by one, copies as a stream).
    """

    kind = "none"

    def __init__(
        self,
        target: Literal["flow", "vp"] = "flow",
        condition: Literal["columns", "classes", "classes_only"] = "columns",
        times: Count = 10,
        copies: Count = 20,
        trees: Count = 100,
        depth: Count = 5,
        rate: Positive = 0.3,
        reg_lambda: NotNegative = 0.0,
        subsample: Positive = 1.0,
        patience: Natural = 0,
        joint: bool = False,
        min_max: bool = False,
        solver: Literal["heun", "euler", "euler_maruyama"] = "heun",
        beta_min: Positive = 0.1,
        beta_max: Positive = 8.0,
        eps: Annotated[float, Gt(0), Lt(1)] = 1e-3,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        if subsample > 1:
            raise UserError(f"density.subsample={subsample} is a share: give 1 or less")
        if condition != "columns" and not c_dim:
            raise UserError(
                f"density.condition={condition} needs the energy among the conditions, of which "
                "there are none: give density.condition=columns"
            )
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.xgboost: Any = needed(
            "xgboost", "xgboost", "'caloman[forest]'", "density=forest", "density=flow_matching"
        )
        self.target: FlowTarget | DiffusionTarget
        if target == "vp":
            self.target = DiffusionTarget(times, solver, (beta_min, beta_max), eps)
        elif solver == "euler_maruyama":
            raise UserError(
                "density.solver=euler_maruyama solves density.target=vp only: give solver=heun or"
                " euler"
            )
        else:
            self.target = FlowTarget(times, solver)
        self.condition, self.min_max = condition, min_max
        self.times, self.copies, self.trees, self.patience = times, copies, trees, patience
        self.settings = {
            "max_depth": depth,
            "eta": rate,
            "reg_lambda": reg_lambda,
            "subsample": subsample,
            "multi_strategy": "multi_output_tree" if joint else "one_output_per_tree",
            "tree_method": "hist",
            "objective": "reg:squarederror",
        }
        self.classes = EnergyClasses()
        self.span = np.zeros((2, 0), "f4")  # of the latents as trees know them
        self.boosters: list[list[Any]] = []  # by time and class

    def _build(self, dim: int) -> None:
        """Nothing: there are no networks."""

    def prepare(self, train: RowSource) -> None:
        """Grow all trees on rows (z (D,), c (C,)), whose noise is drawn by torch's generator.

        Raises:
            UserError: Classes are asked for where there are too many energies.
        """
        super().prepare(train)
        rows = [self.scaled(batch)[:2] for batch in iterate(train, _CHUNK)]
        u, c = (torch.cat(part).cpu().numpy() for part in zip(*rows, strict=True))
        self.classes.fit(u, self._energies(c), self.min_max)
        classes, number = self.classes.of(self._energies(c), len(c)), self.classes.number
        x1, told = self.classes.into(u, classes), self._columns(c)
        self.span = np.stack([x1.min(0), x1.max(0)])
        seeds = torch.randint(2**62, (self.times, number)).tolist()
        kept = self._kept(x1, told, seeds)
        places = [(i, k) for i in range(self.times) for k in range(number)]
        found = []
        for i, k in tqdm(places, "density: trees", leave=False, disable=None):
            path = None if kept is None else kept / f"time{i:04d}-class{k:03d}.ubj"
            if path is not None and path.exists():
                found.append(read(self.xgboost, path.read_bytes()))
                continue
            here = classes == k
            booster = self._grown(i, x1[here], told[here], seeds[i][k])
            if path is not None:
                with replacing(path) as part:
                    part.write_bytes(booster.save_raw("ubj"))
            found.append(booster)
        rounds = sum(booster.num_boosted_rounds() for booster in found)
        log.info("density=forest: %d ensembles, %d rounds of trees", len(found), rounds)
        self._take(found)

    def _grown(self, i: int, x1: np.ndarray, told: np.ndarray, seed: int) -> Any:
        """The ensemble of one time and class."""
        own = {"seed": seed % 2**31, "nthread": torch.get_num_threads()}
        settings = {**self.settings, **own}

        def rows(copy: int) -> tuple[np.ndarray, np.ndarray]:
            generator = torch.Generator().manual_seed(mix(seed, copy))
            x0 = torch.randn(x1.shape, generator=generator).numpy()
            seen = np.concatenate([self.target.mixed(i, x1, x0), told], 1)
            return seen, self.target.wanted(x1, x0)

        return grow(self.xgboost, rows, self.copies, self.trees, self.patience, settings)

    def _kept(self, x1: np.ndarray, told: np.ndarray, seeds: list) -> Path | None:
        """The folder of what this training, and no other, has finished before it was cut."""
        if self.kept is None:
            return None
        what = repr((self.settings, self.trees, self.copies, self.patience, seeds)).encode()
        mark = 0
        for part in (what, repr(vars(self.target)).encode(), x1.tobytes(), told.tobytes()):
            mark = zlib.crc32(part, mark)
        folder = self.kept / f"trees-{mark:08x}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """Squared error of what trees say at fixed draws of noise, summed over dimensions.

        Nothing minimises it; it says how well the trees do on rows that they have not seen.
        """
        u, c, _ = self.scaled(batch)
        told = c.cpu().numpy()
        classes = self.classes.of(self._energies(told), len(told))
        x1 = self.classes.into(u.cpu().numpy(), classes)
        x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(0)).numpy()
        times = np.arange(len(x1)) % self.times
        found = np.zeros_like(x1)
        for i in range(self.times):
            at = times == i
            seen = self.target.mixed(i, x1[at], x0[at])
            found[at] = self._say(i, seen, self._columns(told[at]), classes[at])
        error = np.square(found - self.target.wanted(x1, x0)).sum(1).mean()
        return u.new_tensor(error)

    def get_extra_state(self) -> bytes:
        facts = {name: getattr(self.classes, name) for name in _FACTS}
        boosters = [booster for ensembles in self.boosters for booster in ensembles]
        return to_bytes(boosters, {**facts, "span": self.span})

    def set_extra_state(self, state: bytes) -> None:
        boosters, facts = from_bytes(self.xgboost, state)
        self.span = facts["span"]
        for name in _FACTS:
            setattr(self.classes, name, facts[name])
        if len(boosters) not in (0, self.times * self.classes.number):
            raise ValueError(f"{len(boosters)} ensembles, not {self.times} times as many classes")
        self._take(boosters)

    def _take(self, boosters: list[Any]) -> None:
        number = self.classes.number
        places = range(0, len(boosters), number)
        self.boosters = [boosters[start : start + number] for start in places]

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        x = noise.normal(self.scaler.n_active).cpu().numpy()
        if not len(x):
            return torch.from_numpy(x).to(c)
        told = c.cpu().numpy()
        classes = self.classes.of(self._energies(told), len(told), known=True)
        columns = self._columns(told)

        def asked(i: int, at: np.ndarray) -> np.ndarray:
            return self.target.within(i, at, self._say(i, at, columns, classes), *self.span)

        x = self.target.draw(x, asked, noise)
        return torch.from_numpy(self.classes.out(x, classes)).to(c)

    def _say(self, i: int, x: np.ndarray, told: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """What the trees of the i-th time say of x (B, A)."""
        seen, found = np.concatenate([x, told], 1), np.zeros_like(x)
        for k in np.unique(classes):
            here = classes == k
            found[here] = self.boosters[i][k].inplace_predict(seen[here]).reshape(-1, x.shape[1])
        return found

    def _columns(self, c: np.ndarray) -> np.ndarray:
        """What trees see of conditions beside x."""
        return c[:, {"columns": 0, "classes": 1, "classes_only": c.shape[1]}[self.condition] :]

    def _energies(self, c: np.ndarray) -> np.ndarray | None:
        """What tells the class of rows."""
        return None if self.condition == "columns" else c[:, 0]

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        raise UserError(
            "density=forest samples but has no log_prob: use a density that has, e.g. density=nsf"
        )
