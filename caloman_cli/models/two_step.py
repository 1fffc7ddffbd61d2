"""The two-step model: the only object that sampling, scoring and timing know."""

import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from caloman_cli import __version__
from caloman_cli.config.public import renamed
from caloman_cli.config.targets import PLACES, constructor, refuse_interpolations
from caloman_cli.data.files import load_state, save_state
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.memory import values_at_once
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.errors import FileError, UserError, shown
from caloman_cli.models.calibrations.base import Calibration, Unchanged
from caloman_cli.models.checks import asked_once
from caloman_cli.models.densities.base import Density
from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.energies.base import EnergyModel
from caloman_cli.models.kinds import Kind
from caloman_cli.models.likelihood import DRAWS, Likelihood, kind_of, likelihood_of, measure_of
from caloman_cli.models.noise import Noise
from caloman_cli.models.origin import written_by
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.preprocess.preprocess import Preprocess
from caloman_cli.models.trainable import plain_state

log = logging.getLogger(__name__)

Instead = Callable[[Tensor], Tensor]
"""Latents z (B, D) of the second step -> those that are decoded in their place."""
_CACHE_VALUES = 1 << 25  # 128 MiB of float32: large enough that calls cost little
_LEAST_VALUES = 1 << 24  # of a thread
_ANY_SIZE = 100_000  # of a model with hardly any networks
_SIZED = ("preprocess", "energy", "encoder", "head", "density")  # calibration counts showers
FORMAT = 9
"""Version of the layout of a model file: 9 names classes by their rooms."""
_WITHOUT_SPECTRUM = 7
_READ = (_WITHOUT_SPECTRUM, 8, FORMAT)
SAMPLING = 4
"""Version of the way from seed and incident energies to showers; 4: layer energies draw once.

Raise it with every change after which equal weights, seed and incident energies give other
showers: in :class:`Noise`, the order of draws, :meth:`TwoStep.sample`, a part's ``sample`` or the
calibration. A sample file carries it, and only a sample of this version is used again.
"""


class TwoStep(nn.Module):
    """Energy model, density on the manifold, decoder: incident energies to showers.

    Args:
        geometry: The detector.
        preprocess: The border between MeV and dimensionless numbers.
        energy: How much energy each layer gets.
        encoder: The manifold, with the head that its decoder speaks through.
        density: The distribution of latents.
        calibration: What is corrected of a drawn shower; None: nothing.
        spectrum: The incident energies it was trained on; None where they are not known.
    """

    def __init__(
        self,
        geometry: Geometry,
        preprocess: Preprocess,
        energy: EnergyModel,
        encoder: Encoder,
        density: Density,
        calibration: Calibration | None = None,
        spectrum: Spectrum | None = None,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.preprocess = preprocess
        self.energy = energy
        self.encoder = encoder
        self.density = density
        self.calibration = Unchanged(geometry=geometry) if calibration is None else calibration
        self.spectrum = spectrum

    def sample(self, e_inc: Tensor, noise: Noise, instead: Instead | None = None) -> Tensor:
        """Generate one shower per incident energy; layer energies are generated too.

        Args:
            e_inc: Incident energies [MeV], shape (B, 1), on the model's device.
            noise: The random numbers of these B rows.
            instead: Replaces latents after they are drawn, so that all else has the same noise.

        Returns:
            Voxels [MeV], shape (B, V), float32; row i has incident energy i. B may be 0.

        Raises:
            ValueError: The shapes do not fit.
        """
        if e_inc.ndim != 2 or e_inc.shape[1] != 1 or len(e_inc) != noise.n:
            raise ValueError(
                f"e_inc has shape {tuple(e_inc.shape)}, must be ({noise.n}, 1) for noise of "
                f"{noise.n} rows"
            )
        with torch.inference_mode():
            if not len(e_inc):
                return torch.zeros(0, self.geometry.n_voxels, device=e_inc.device)
            return self.calibration(self.draw(e_inc, noise, instead))

    @torch.inference_mode()
    def draw(self, e_inc: Tensor, noise: Noise, instead: Instead | None = None) -> Tensor:
        """The same before the calibration."""
        e_inc = e_inc.float()
        with asked_once():
            context = Context(e_inc, self.energy.sample(e_inc, noise))
            c = self.preprocess.condition(context)
            z = self.density.sample(c, noise)
            z = z if instead is None else instead(z)
            # Parts of the noise are drawn from last.
            context = self.preprocess.drawn(context, noise)
            return self.preprocess.inverse(self._decoded(z, c, noise), context)

    def _decoded(self, z: Tensor, c: Tensor, noise: Noise) -> Tensor:
        """Draw x (B, V) from the decoder, as many rows at once as memory likes."""
        head = self.encoder.head
        if torch.compiler.is_compiling():
            return head.sample(self.encoder.decode(z, c), noise)
        values = values_at_once(z.device, _CACHE_VALUES)
        # As many parts for each thread, all of one size: the slowest one is waited for. Threads
        # with little to do would wait for each other at every call.
        threads = torch.get_num_threads() if z.device.type == "cpu" else 1
        total = len(z) * head.footprint
        threads = max(1, min(threads, total // _LEAST_VALUES))
        n_parts = threads * max(1, math.ceil(total / (values * threads)))
        edges = [*range(0, len(z), math.ceil(len(z) / n_parts)), len(z)]

        def part(span: tuple[int, int]) -> Tensor:
            start, stop = span
            with torch.inference_mode():
                decoded = self.encoder.decode(z[start:stop], c[start:stop])
                return head.sample(decoded, noise.part(start, stop))

        spans = list(zip(edges[:-1], edges[1:], strict=True))
        parts = _on_each_core(part, spans) if z.device.type == "cpu" else list(map(part, spans))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def generating_parameters(self) -> int:
        """How many parameters :meth:`sample` needs: all but the network that only encodes."""
        skipped = {id(parameter) for parameter in self.encoder.training_only()}
        return sum(p.numel() for p in self.parameters() if id(p) not in skipped)

    @property
    def kind(self) -> Kind:
        """What :meth:`log_prob` is: as good as the weakest of its parts."""
        return kind_of(self)

    @property
    def measure(self) -> str:
        """With respect to what :meth:`log_prob` is a density, in words."""
        return measure_of(self)

    def log_prob(self, voxels: Tensor, e_inc: Tensor, draws: int = DRAWS, seed: int = 0) -> Tensor:
        """log p(shower | E_inc) [nats], shape (B,), float64, see :meth:`likelihood`."""
        return self.likelihood(voxels, e_inc, draws, seed).total

    def likelihood(
        self, voxels: Tensor, e_inc: Tensor, draws: int = DRAWS, seed: int = 0
    ) -> Likelihood:
        r"""log p(shower | E_inc), and how far its draws are spread.

        Per MeV, of the measure that :attr:`measure` names, exact or not as :attr:`kind` says; see
        :mod:`caloman_cli.models.likelihood` for the ways of different encoders. What is computed
        at the projection of a shower on the manifold belongs to that:
        read :meth:`reconstruction_error` beside it.

        It is infinite, which a warning says, where the decoder has fewer directions than latents,
        as in a shower without energy: the image of latent space there has no volume.

        Args:
            voxels: [MeV], shape (B, V).
            e_inc: Incident energies [MeV], shape (B, 1).
            draws: From the posterior, where it has a density.
            seed: Of the draws.

        Raises:
            UserError: A part has no density.
            FloatingPointError: A part of it is NaN.

        References:
            Loaiza-Ganem et al. (2022), Diagnosing and fixing manifold overfitting in deep
            generative models, arXiv:2204.07172.
            Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders,
            arXiv:1509.00519.
        """
        found = likelihood_of(self, voxels, e_inc, draws, seed)
        total = found.total
        broken, endless = int(total.isnan().sum()), int(total.isinf().sum())
        if broken:
            raise FloatingPointError(
                f"log_prob is NaN for {broken} of {len(total)} showers: the model's training "
                "diverged, or they are far outside the training data"
            )
        if endless:
            log.warning(
                "log_prob is infinite for %d of %d showers, whose energy is nothing or whose "
                "latents lose a direction",
                *(endless, len(total)),
            )
        return found

    def reconstruction_error(self, voxels: Tensor, e_inc: Tensor) -> Tensor:
        """Squared distance of a shower to the manifold, preprocessed units, shape (B,)."""
        return self.encoder.reconstruction_error(*self.preprocess(voxels, e_inc))


def _on_each_core(
    part: Callable[[tuple[int, int]], Tensor], spans: list[tuple[int, int]]
) -> list[Tensor]:
    """The parts, computed by as many threads as torch has, of one core each.

    A walk through a shower is many small operations, which two cores do not share well.
    """
    threads = torch.get_num_threads()
    if min(threads, len(spans)) == 1:
        return [part(span) for span in spans]

    def alone(span: tuple[int, int]) -> Tensor:
        torch.set_num_threads(1)  # of this thread; and the default of threads to come
        return part(span)

    try:
        with ThreadPoolExecutor(min(threads, len(spans))) as pool:
            return list(pool.map(alone, spans))
    finally:
        torch.set_num_threads(threads)


def build(cfg: DictConfig | dict, geometry: Geometry) -> TwoStep:
    """Make an untrained model from its config groups.

    Dimensions are taken from geometry, preprocessing and encoder; no config repeats them.

    Args:
        cfg: Has the groups ``preprocess``, ``energy``, ``encoder``, ``head``, ``density`` and,
            if showers are calibrated, ``calibration``.
        geometry: The detector.

    Raises:
        UserError: A group names a class that it may not name, its hyper-parameters are out of
            range, or the groups do not fit.
    """
    config = {group: _plain(cfg[group]) for group in PLACES if group in cfg}
    preprocess: Preprocess = make(config, "preprocess")(geometry=geometry)
    dims = {"x_dim": preprocess.x_dim, "c_dim": preprocess.c_dim}
    energy: EnergyModel = make(config, "energy")(geometry=geometry)
    head = make(config, "head")(geometry=geometry, conditions=preprocess.conditions)
    encoder: Encoder = make(config, "encoder")(**dims, head=head)
    if preprocess.orientation is not None and encoder.n_turns > 1:
        raise UserError(
            "encoder.augment=true turns at random what preprocess.orientation=canonical has "
            "brought to one orientation: give encoder.augment=false"
        )
    density: Density = make(config, "density")(latents=encoder.latents, c_dim=preprocess.c_dim)
    calibration = (
        make(config, "calibration")(geometry=geometry) if "calibration" in config else None
    )
    return TwoStep(geometry, preprocess, energy, encoder, density, calibration)


def _plain(node: Any) -> Any:
    # What is plain already, as in a model file, never becomes a config that could resolve.
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def make(config: dict[str, Any], group: str) -> Callable[..., Any]:
    """The constructor of a config group, its hyper-parameters given, its build-time ones open.

    Args:
        config: Plain values; nested DictConfigs are none.
        group: One of :data:`caloman_cli.config.targets.PLACES`.

    Raises:
        UserError: The group is missing, names what it may not name, or a nested object refuses
            its hyper-parameters.
    """
    if group not in config:
        raise UserError(f"the model's config has no group '{group}'")
    return constructor(config[group], PLACES[group], group)


def save_model(path: Path, model: TwoStep, cfg: DictConfig | dict) -> None:
    """Write a model file that needs nothing beside it.

    Args:
        path: Replaced in one step; an interrupted write leaves the old file.
        model: The model.
        cfg: The config that :func:`build` made it from.
    """
    config = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(cfg)
    content = {
        "format": FORMAT,
        "version": __version__,
        "config": OmegaConf.to_container(config, resolve=True),
        "geometry": model.geometry.to_dict(),
        "spectrum": None if model.spectrum is None else model.spectrum.to_dict(),
        "state": {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in plain_state(model).items()
        },
    }
    save_state(path, content)


def load_model(path: Path | str, device: torch.device | str = "cpu") -> tuple[TwoStep, dict]:
    """Read a model file; only plain data are unpickled.

    Returns:
        The model in evaluation mode on the device, and its config.

    Raises:
        FileError: The file is missing, is not a model file or is of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"model file {path} does not exist: give a trained run, run=DIR")
    content = load_state(path, remedy="give a run's model.pt", kind="model file of caloman")
    found = content.get("format")
    if found is None:
        raise FileError(f"{path} is not a model file of caloman: give a run's model.pt")
    if found not in _READ:
        raise FileError(
            f"{path} has format {found}, written by caloman {content.get('version')}; this "
            f"version reads formats {_READ[0]} to {FORMAT}"
        )
    model = _rebuilt(path, content)
    return model.to(device).eval(), content["config"]


def _rebuilt(path: Path, content: dict[str, Any]) -> TwoStep:
    """The model of a file's plain data."""
    facts_read, origin = False, written_by(path, content.get("version"))
    try:
        refuse_interpolations(content["config"], "its config")
        content["config"] = renamed(content["config"])
        geometry = Geometry.from_dict(content["geometry"])
        known = None if content["format"] == _WITHOUT_SPECTRUM else content.get("spectrum", {})
        spectrum = None if known is None else Spectrum.from_dict(known)
        facts_read = True
        _refuse_sizes(content["config"], geometry, content["state"])
        model = build(content["config"], geometry)
        model.load_state_dict(content["state"])
    except UserError as error:
        raise FileError(
            f"{path}: {error} (written by {origin})"
            if facts_read
            else f"{path} is damaged: {error}"
        ) from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError,
            ValueError) as error:  # fmt: skip
        said = shown(f"{type(error).__name__}: {error}")
        raise FileError(
            f"{path} does not fit this caloman ({__version__}), its settings or tensors are"
            f" others ({said}): it was written by {origin}; use that, or train again"
            if facts_read
            and isinstance(error, RuntimeError)  # torch's, of tensors and their sizes
            else f"{path} is damaged ({said}): train again"
        ) from error
    model.spectrum = spectrum
    return model


def _refuse_sizes(
    config: dict[str, Any], geometry: Geometry, state: dict[str, Tensor | bytes]
) -> None:
    """Raise a UserError where a model would be larger than the numbers that the file has for it.

    It would be allocated before the numbers were missed.
    """
    has = sum(len(v) if isinstance(v, bytes) else v.numel() for v in state.values())

    def largest(values: Any) -> int:
        if isinstance(values, dict | list):
            items = values.values() if isinstance(values, dict) else values
            return max((largest(item) for item in items), default=0)
        return values if isinstance(values, int) else 0

    asked = max(geometry.n_voxels, *(largest(config.get(group)) for group in _SIZED))
    if asked > max(has, _ANY_SIZE):
        raise UserError(f"a size of {asked} is asked for, but the file holds {has} numbers")
