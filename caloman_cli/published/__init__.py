"""What every submission of the Fast Calorimeter Simulation Challenge scored, one file per dataset.

The numbers are the challenge's own, from the folder ``final_results`` of its public repository
(github.com/CaloChallenge/homepage, commit 91f715d); ``scripts/tools/extract_published.py`` made
these files from them. The repository states no licence; the numbers are published facts, and
whoever shows them cites the paper below.

How each number came about:

- AUC: mean and standard deviation of ten classifier trainings, scores calibrated.
- log-posterior: mean over Geant4 showers of the log-probability that a classifier of all
  submissions of the dataset gives to this one; mean and standard deviation of ten trainings.
- FPD: extrapolated to infinite samples, with the error of that fit. KPD: median of ten batches,
  with half their 16 to 84 % range.
- precision, recall, density, coverage: one evaluation, no error.
- separation powers: mean over the layers of one submitted file. For ``GEANT4``, mean and
  standard deviation of ten such comparisons.
- parameters: those needed to generate.
- times: a job's wall time over its number of showers [ms], mean and standard deviation of ten
  repetitions, on the challenge's CPU and GPU; missing where there is no such measurement.

``GEANT4`` is no submission but a second, independent real sample judged in the same way.

References:
    Krause et al. (2024), CaloChallenge 2022: a community challenge for fast calorimeter
    simulation, arXiv:2410.21611.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

DATASETS = ("ds1_photons", "ds1_pions", "ds2", "ds3")
TRUTH = "GEANT4"
CITATION = "Krause et al., arXiv:2410.21611"


@dataclass(frozen=True)
class Value:
    """A published number; ``spread`` is None where none was published."""

    value: float
    spread: float | None = None


@dataclass(frozen=True)
class Submission:
    """One submission: its name, its number in the challenge, its values by quantity."""

    name: str
    number: int
    values: dict[str, Value]


@cache
def load(dataset: str) -> tuple[Submission, ...]:
    """All submissions of a dataset, ``GEANT4`` first.

    Args:
        dataset: One of :data:`DATASETS`.

    Raises:
        KeyError: There are no published results for this name.
    """
    if dataset not in DATASETS:
        raise KeyError(f"no published results for {dataset!r}, only for {', '.join(DATASETS)}")
    text = files(__name__).joinpath(f"{dataset}.json").read_text(encoding="utf-8")
    return tuple(
        Submission(
            name,
            record["number"],
            {key: Value(*pair) for key, pair in record["values"].items()},
        )
        for name, record in json.loads(text)["submissions"].items()
    )
