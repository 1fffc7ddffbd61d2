"""The incident energies that a model knows: those of the showers it was trained on.

They are facts of the training data, which travel with the model. A detector's own spectrum (of its
official files) may reach further, or may not exist.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

log = logging.getLogger(__name__)

_MOST_LEVELS = 64
_SHOWERS_PER_LEVEL = 4
_QUANTILES = 1025
_ROWS = 16_384  # energies that are looked at at once
_ROUNDING = 1e-6  # files hold energies in float32, or rounded: the edge itself is inside


@dataclass(frozen=True)
class Spectrum:
    """How incident energies are distributed: discrete levels, or a continuous spectrum.

    Args:
        energies: Rising [MeV]. With ``weights`` these are the levels; without them quantiles at
            equal steps of probability, between which log E is uniform (the two ends of a
            log-uniform spectrum are enough).
        weights: Relative frequency of each level, or None.
        of: What has this spectrum, for messages.
    """

    energies: tuple[float, ...]
    weights: tuple[float, ...] | None = None
    of: str = "the training data"

    @classmethod
    def measured(cls, energies: np.ndarray) -> "Spectrum":
        """The spectrum of given showers.

        Args:
            energies: Incident energies [MeV], at least one, any shape.
        """
        values, counts = np.unique(np.asarray(energies, np.float64), return_counts=True)
        n = int(counts.sum())
        few = len(values) <= _MOST_LEVELS and n >= _SHOWERS_PER_LEVEL * len(values)
        if few or len(values) == 1:
            return cls(tuple(values.tolist()), tuple(counts.astype(float).tolist()))
        levels = np.linspace(0.0, 1.0, min(n, _QUANTILES))
        inner = np.exp(np.quantile(np.log(np.repeat(values, counts)), levels[1:-1]))
        return cls((float(values[0]), *inner.tolist(), float(values[-1])))

    @classmethod
    def of_detector(cls, geometry: Geometry) -> "Spectrum | None":
        """The spectrum of a detector's official files; None where it has none."""
        if geometry.incident_energies is not None:
            weights = geometry.incident_weights or (1.0,) * len(geometry.incident_energies)
            pairs = sorted(zip(geometry.incident_energies, weights, strict=True))
            levels, shares = zip(*pairs, strict=True)
            return cls(levels, shares, of=f"the official {geometry.name}")
        if geometry.incident_range is None:
            return None
        return cls(geometry.incident_range, of=f"the official {geometry.name}")

    def draw(self, generator: np.random.Generator, n: int) -> np.ndarray:
        """Draw incident energies [MeV], float64, shape (n, 1); no more memory than these.

        Each takes one number of the generator, so that who advances it draws the later ones.
        """
        drawn = np.empty((n, 1))
        for rows in _blocks(n):
            drawn[rows] = self._drawn(generator, len(drawn[rows]))
        return drawn

    def _drawn(self, generator: np.random.Generator, n: int) -> np.ndarray:
        energies = np.asarray(self.energies)
        if self.weights is not None:
            share = np.asarray(self.weights) / sum(self.weights)
            return generator.choice(energies, (n, 1), p=share)
        levels = np.linspace(0.0, 1.0, len(energies))
        drawn = np.exp(np.interp(generator.uniform(size=(n, 1)), levels, np.log(energies)))
        return drawn.clip(energies[0], energies[-1])

    def foreign(self, energies: np.ndarray) -> list[str]:
        """What to say of incident energies that are not among these.

        Args:
            energies: [MeV], shape (N, 1).

        Returns:
            Nothing, or a line about those outside and a line about those between levels.
        """
        n = len(energies)
        outside, between = map(
            sum, zip(*(self._strange(energies[rows]) for rows in _blocks(n)), strict=True)
        )
        lines = (
            (outside, "outside", "extrapolated (energies must be in MeV)"),
            (between, "between the levels of", "interpolated"),
        )
        return [
            f"{count} of {n} incident energies lie {where} {self}: the showers there are {how}"
            for count, where, how in lines
            if count
        ]

    def _strange(self, energies: np.ndarray) -> tuple[int, int]:
        """How many energies [MeV], shape (N, 1), lie outside and how many between levels."""
        known = np.asarray(self.energies)
        outside = (energies < known[0] * (1 - _ROUNDING)) | (
            energies > known[-1] * (1 + _ROUNDING)
        )
        between = np.zeros_like(outside)
        if self.weights is not None:
            nearest = known[np.abs(energies[..., None] - known).argmin(-1)]
            between = ~outside & (np.abs(energies - nearest) > _ROUNDING * nearest)
        return int(outside.sum()), int(between.sum())

    def __str__(self) -> str:
        """``1000 ... 65536 MeV, the training data``."""
        low, high = f"{self.energies[0]:g}", f"{self.energies[-1]:g}"
        span = low if len(self.energies) == 1 else f"{low} ... {high}"
        return f"{span} MeV, {self.of}"

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, so that a model file can carry it."""
        return {"energies": list(self.energies), "weights": self.weights and list(self.weights)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Spectrum":
        """Read what :meth:`to_dict` wrote.

        Raises:
            UserError: The energies do not rise, or are not positive numbers.
        """
        try:
            energies, weights = tuple(map(float, facts["energies"])), facts["weights"]
            weights = None if weights is None else tuple(map(float, weights))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("the incident energies are not lists of numbers") from error
        rises = np.diff(energies) >= 0
        if (
            not energies
            or not np.isfinite(energies).all()
            or min(energies) <= 0
            or not rises.all()
        ):
            raise UserError("the incident energies must be rising positive numbers")
        if weights is not None and (len(weights) != len(energies) or not min(weights) > 0):
            raise UserError("each incident energy must have a weight above 0")
        return cls(energies, weights)


def _blocks(n: int) -> Iterator[slice]:
    """Rows 0 to n - 1 in blocks that take little memory; one block at least."""
    return (slice(start, start + _ROWS) for start in range(0, max(n, 1), _ROWS))


class KnowsEnergies(Protocol):
    """A model: its detector, and the energies it was trained on where its file says them."""

    geometry: Geometry
    spectrum: Spectrum | None


def known_spectrum(model: KnowsEnergies) -> Spectrum | None:
    """What the model was trained on, else the spectrum of its detector's official files.

    Returns:
        None where neither is known.
    """
    return model.spectrum or Spectrum.of_detector(model.geometry)


def draw_known(model: KnowsEnergies, generator: np.random.Generator, n: int) -> np.ndarray:
    """Draw incident energies [MeV], float64, shape (n, 1), of the model's spectrum.

    Raises:
        UserError: Neither the model nor its detector has one.
    """
    spectrum = known_spectrum(model)
    if spectrum is None:
        raise UserError(
            "this model's file does not say which incident energies it was trained on (an older "
            f"caloman wrote it), and {model.geometry.name} has no spectrum of its own: give "
            "energy=E, energy=[LOW,HIGH] or energies=FILE"
        )
    if model.spectrum is None:
        log.warning(
            "the model's file does not say which incident energies it was trained on (an older "
            "caloman wrote it): drawing from %s",
            spectrum,
        )
    return spectrum.draw(generator, n)


def warn_foreign(model: KnowsEnergies, energies: np.ndarray) -> None:
    """Warn of incident energies [MeV], shape (N, 1), that the model was not trained on."""
    spectrum = known_spectrum(model)
    for line in [] if spectrum is None else spectrum.foreign(energies):
        log.warning("%s", line)
