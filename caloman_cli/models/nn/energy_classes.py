"""Rows by the energy of their particle, each class on a scale of its own."""

import numpy as np

from caloman_cli.errors import UserError

_SAME = 1e-3  # energies that are nearer are one
_MOST = 100


class EnergyClasses:
    """The classes of rows u (N, A); all of them are one where there are no energies.

    Attributes:
        energies: Rising, shape (K,), as conditions have them; none: there is one class.
        low: The least of each class and column, shape (K, A); -1 where nothing is scaled.
        width: The range of each, shape (K, A); 2 where nothing is scaled.
    """

    energies: np.ndarray = np.zeros(0, "f4")
    low: np.ndarray = np.zeros((1, 0), "f4")
    width: np.ndarray = np.zeros((1, 0), "f4")

    @property
    def number(self) -> int:
        """K."""
        return max(len(self.energies), 1)

    def fit(self, u: np.ndarray, energies: np.ndarray | None, scale: bool) -> None:
        """Take the classes of rows.

        Args:
            u: Rows, shape (N, A).
            energies: Of the rows, shape (N,); None: they are one class.
            scale: Whether each class is to lie in [-1, 1].

        Raises:
            UserError: There are too many energies.
        """
        if energies is not None:
            rising = np.sort(energies)
            self.energies = rising[np.insert(np.diff(rising) > _SAME, 0, True)]
            if self.number > _MOST:
                raise UserError(
                    f"density.condition=classes learns trees for each energy, and there are "
                    f"{self.number}, more than {_MOST}: give density.condition=columns"
                )
        self.low = np.full((self.number, u.shape[1]), -1, "f4")
        self.width = np.full_like(self.low, 2)
        if scale:
            classes = self.of(energies, len(u))
            for k in range(self.number):
                self.low[k] = u[classes == k].min(0)
                self.width[k] = u[classes == k].max(0) - self.low[k]

    def of(self, energies: np.ndarray | None, n: int, known: bool = False) -> np.ndarray:
        """The class of each of n rows, the nearest.

        Raises:
            UserError: ``known`` ones are asked for, and it is not near.
        """
        if energies is None or not len(self.energies):
            return np.zeros(n, np.int64)
        apart = np.abs(energies[:, None] - self.energies)
        if known and (apart.min(1) > _SAME).any():
            raise UserError(
                f"density.condition=classes has trees for the {self.number} energies that it "
                "learned from, and other ones are asked for: give those, or train with "
                "density.condition=columns"
            )
        found: np.ndarray = apart.argmin(1)
        return found

    def into(self, u: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Rows on the scales of their classes; what is constant in one is -1 there."""
        width = np.where(self.width > 0, self.width, 1)
        found: np.ndarray = (u - self.low[classes]) / width[classes] * 2 - 1
        return found

    def out(self, x: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`into`."""
        found: np.ndarray = self.low[classes] + (x + 1) / 2 * self.width[classes]
        return found
