"""The two sets of rules by which published scores of calorimeter generators were made.

``final`` is the CaloChallenge's own paper. ``legacy2022`` is the evaluation code of 2022: papers
and talks before the end of 2023 quote its numbers, which cannot be compared with the final ones.

References:
    Krause et al. (2024), CaloChallenge 2022: A Community Challenge for Fast Calorimeter
    Simulation, arXiv:2410.21611, and the history of its evaluation code.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

ProtocolName = Literal["final", "legacy2022"]
FeatureSet = Literal["high", "high2022"]
DATASET_1 = ("ds1_photons", "ds1_pions")


@dataclass(frozen=True)
class Protocol:
    """What differs between the sets of rules.

    Args:
        name: ``final`` or ``legacy2022``.
        units: Width of the official classifier's hidden layers.
        fixed_splits: Whether official files are split into fixed numbers of showers, else into
            60 %, 20 % and 20 %.
        cut: Whether the readout cut is applied to what classifiers see.
        features: Inputs of the ``high`` classifier: ``high2022`` lacks visible energy, sparsity
            and the radial centres and widths.
        resnet: Whether a 3-D ResNet is among its classifiers.
        dataset1_threshold: Readout threshold of dataset 1 [MeV]. None: the geometry's.
    """

    name: ProtocolName
    units: int
    fixed_splits: bool
    cut: bool
    features: FeatureSet
    resnet: bool
    dataset1_threshold: float | None

    def histogram_threshold(self, geometry: Geometry) -> float:
        """Where histograms of layer and voxel energies start [MeV]."""
        if self.dataset1_threshold is not None and geometry.name in DATASET_1:
            return self.dataset1_threshold
        return geometry.threshold

    def classifier_threshold(self, geometry: Geometry) -> float:
        """Smaller voxel energies [MeV] are zero in what classifiers see."""
        return geometry.threshold if self.cut else 0.0


FINAL = Protocol("final", 2048, True, True, "high", True, None)
LEGACY_2022 = Protocol("legacy2022", 512, False, False, "high2022", False, 10.0)
_PROTOCOLS = {rules.name: rules for rules in (FINAL, LEGACY_2022)}


def find_protocol(name: ProtocolName) -> Protocol:
    """The rules of ``protocol=final|legacy2022``.

    Raises:
        UserError: There is no such protocol.
    """
    if name not in _PROTOCOLS:
        raise UserError(
            f"protocol is '{name}', must be one of {', '.join(get_args(ProtocolName))}"
        )
    return _PROTOCOLS[name]
