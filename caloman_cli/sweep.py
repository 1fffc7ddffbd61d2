"""Multiruns: a stable folder per job, and the summary at the end."""

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.types import RunMode

log = logging.getLogger(__name__)

_LONGEST = 80
_NOT_THE_JOB = {"output", "device", "data_dir", "cache_dir", "logger"}


class Outcome(NamedTuple):
    """How a job ended; plain types, so that it travels back from a cluster.

    Args:
        name: The job.
        status: Exit status.
        message: What went wrong, one line.
        path: What the job made.
    """

    name: str
    status: int
    message: str
    path: str | None


def job_name(overrides: Sequence[str]) -> str:
    """A folder name that depends on nothing but what the job is: ``experiment-demo_seed-1``.

    The same job of a repeated or longer sweep gets the same name, so that finished jobs are found
    and skipped. Where it runs and where it writes are no part of the job.
    """
    kept = [
        override
        for override in overrides
        if re.split(r"[.=]", override.lstrip("+~"))[0] not in _NOT_THE_JOB
        and not override.startswith("hydra")
    ]
    # Groups, seed and the like first: what a long name loses is the least telling.
    kept.sort(key=lambda override: ("." in override.partition("=")[0], override))
    exact = ",".join(kept)
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", exact.replace("=", "-").replace(",", "_")).strip("-_")
    # A minus inside a key or a value could be taken for the one between them.
    readable = all(re.fullmatch(r"[\w./@]+=[\w.+]*", override) for override in kept)
    if readable and 0 < len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(exact.encode()).hexdigest()[:8]
    return f"{name[:_LONGEST]}_{digest}" if name else f"job_{digest}"


def sweep_folder(verb: str, overrides: Sequence[str]) -> str:
    """Where a multirun keeps its jobs: the ``output`` that the user gave, else one per verb."""
    given: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        given[key] = value.strip("'\"")
    for key in ("hydra.sweep.dir", "output"):
        if key in given and not {",", "("} & set(given[key]):
            return str(Path(given[key]).expanduser())
    return f"outputs/sweep/{verb}"


def job_overrides(hydra: Hydra, config: str, overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, where they are known before the first one runs.

    A sweeper that searches (Optuna) chooses them on the way: the list is empty then.
    """
    cfg = hydra.compose_config(
        config, list(overrides), RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    if not str(cfg.hydra.sweeper._target_).endswith("BasicSweeper"):
        return []
    params = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    batches = BasicSweeper.split_arguments(
        parser.parse_overrides([*params, *cfg.hydra.overrides.task]), None
    )
    fixed = list(cfg.hydra.overrides.hydra)
    return [[*fixed, *job] for batch in batches for job in batch]


def summarise(jobs: Sequence[JobReturn]) -> int:
    """Log how the jobs of a multirun ended.

    Returns:
        The exit status: 0 when all are done, else 1.
    """
    outcomes: list[Outcome] = [job.return_value for job in jobs]
    failed = [outcome for outcome in outcomes if outcome.status]
    log.info("%d jobs: %d done, %d failed", len(jobs), len(jobs) - len(failed), len(failed))
    for outcome in failed:
        log.error("failed: %s: %s", outcome.name, outcome.message)
    return 1 if failed else 0
