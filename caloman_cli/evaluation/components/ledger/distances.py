"""Distances of a rival's features and histograms, corrected for the numbers of showers."""

from typing import NamedTuple

import numpy as np

from caloman_cli.data.showers import Showers
from caloman_cli.metrics.features import Features, feature_matrix, high_level_features
from caloman_cli.metrics.frechet import FrechetPhysicsDistance
from caloman_cli.metrics.protocol import Protocol
from caloman_cli.metrics.separation import group_means, separation_histograms

DRAWS = 5  # of each size: the challenge has 20


class Value(NamedTuple):
    """A score and its statistical error."""

    value: float
    error: float

    def over(self, other: "Value") -> tuple[float, float]:
        """How much more than another, and the error of that, as if they were independent."""
        return self.value - other.value, float(np.hypot(self.error, other.error))


class Side(NamedTuple):
    """Showers, their features as classifiers and as histograms see them."""

    showers: Showers
    features: Features
    binned: Features

    @classmethod
    def of(cls, showers: Showers, rules: Protocol) -> "Side":
        """The features after the cuts of a protocol."""
        cuts = (
            rules.classifier_threshold(showers.geometry),
            rules.histogram_threshold(showers.geometry),
        )
        features = high_level_features(showers, cuts[0])
        same = cuts[0] == cuts[1]
        return cls(showers, features, features if same else high_level_features(showers, cuts[1]))


def frechet(real: Side, side: Side) -> Value:
    """FPD less what finite samples add, and the larger one of its two errors."""
    found = FrechetPhysicsDistance(n_draws=DRAWS)(
        feature_matrix(real.features), feature_matrix(side.features)
    )
    return Value(found["fpd_unbiased"], max(found["fpd_error"], found["fpd_sampling_error"]))


def separations(real: Side, side: Side) -> dict[str, Value]:
    """Mean separation power of each group of histograms, less its floor; none without a cut,
    where logarithmic bins would begin at 0."""
    if not real.binned.threshold:
        return {}
    histograms = separation_histograms(
        real.showers, side.showers, reference_features=real.binned, generated_features=side.binned
    )
    return {
        mean.group: Value(mean.separation - mean.floor, mean.error)
        for mean in group_means(histograms)
        if mean.separation is not None and mean.floor is not None and mean.error is not None
    }
