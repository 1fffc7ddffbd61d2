"""Sampling media: the lengths and energies in which a shower's shape is universal."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Material:
    """One material of a sampling cell.

    Args:
        atomic_number: Z.
        atomic_mass: A [g/mol].
        density: [g/cm3].
        radiation_length: X0 [g/cm2].
        thickness: Thickness in one sampling cell [cm].
    """

    atomic_number: float
    atomic_mass: float
    density: float
    radiation_length: float
    thickness: float

    @property
    def mass(self) -> float:
        """Mass per area of the cell's share [g/cm2]."""
        return self.density * self.thickness

    @property
    def critical_energy(self) -> float:
        """2.66 (X0 Z / A)^1.1 [MeV], with X0 in g/cm2."""
        return 2.66 * (self.radiation_length * self.atomic_number / self.atomic_mass) ** 1.1


@dataclass(frozen=True)
class Medium:
    """A sampling calorimeter made of cells of one passive and one active material.

    Args:
        passive: The absorber.
        active: The material that is read out.
        resolution: Sampling fluctuation c in sigma(E) / E = c / sqrt(E / GeV).

    References:
        Grindhammer, Peters (1993), The parameterized simulation of electromagnetic showers in
        homogeneous and sampling calorimeters, arXiv:hep-ex/0001020.
    """

    passive: Material
    active: Material
    resolution: float

    @cached_property
    def _fractions(self) -> tuple[float, float]:
        total = self.passive.mass + self.active.mass
        return self.passive.mass / total, self.active.mass / total

    @cached_property
    def _density(self) -> float:
        thickness = self.passive.thickness + self.active.thickness
        return (self.passive.mass + self.active.mass) / thickness

    @cached_property
    def _radiation_length(self) -> float:
        """X0 [g/cm2]."""
        passive, active = self._fractions
        return 1 / (
            passive / self.passive.radiation_length + active / self.active.radiation_length
        )

    @cached_property
    def _critical_energy_per_length(self) -> float:
        """sum_i w_i E_c,i / X0_i [MeV cm2/g]."""
        return sum(
            fraction * material.critical_energy / material.radiation_length
            for fraction, material in zip(
                self._fractions, (self.passive, self.active), strict=True
            )
        )

    @property
    def atomic_number(self) -> float:
        """Z averaged by mass."""
        passive, active = self._fractions
        return passive * self.passive.atomic_number + active * self.active.atomic_number

    @cached_property
    def radiation_length(self) -> float:
        """X0 [mm]."""
        return 10 * self._radiation_length / self._density

    @cached_property
    def moliere_radius(self) -> float:
        """R_M [mm], with the scale energy 21.2 MeV."""
        return 10 * 21.2 / self._critical_energy_per_length / self._density

    @cached_property
    def critical_energy(self) -> float:
        """E_c [MeV]."""
        return self._radiation_length * self._critical_energy_per_length

    @cached_property
    def inverse_sampling_frequency(self) -> float:
        """1 / F_S: the cell's thickness in units of X0."""
        return 10 * (self.passive.thickness + self.active.thickness) / self.radiation_length

    @cached_property
    def response_deficit(self) -> float:
        """1 - e_hat, where e_hat is the response to electrons over that to ionising tracks."""
        return 1 - 1 / (1 + 0.007 * (self.passive.atomic_number - self.active.atomic_number))


LEAD_ARGON = Medium(
    passive=Material(82, 207.2, 11.35, 6.37, 0.153),
    active=Material(18, 39.95, 1.396, 19.55, 0.424),
    resolution=0.10,
)
TUNGSTEN_SILICON = Medium(
    passive=Material(74, 183.84, 19.3, 6.76, 0.14),
    active=Material(14, 28.086, 2.33, 21.82, 0.03),
    resolution=0.24,
)
