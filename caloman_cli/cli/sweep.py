"""Multiruns: a stable folder per job, and the summary at the end."""

import hashlib
import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from caloman_cli.config.paths import expanded

log = logging.getLogger(__name__)

_LONGEST = 80
_IN_THE_PLACE = {"run", "evaluation"}  # RUN/evaluation/<suite>
_NOT_THE_JOB = {
    "output", "device", "data_dir", "cache_dir", "logger", "dataset.train", "dataset.reference",
}  # fmt: skip
"""Keys that do not make another job: where it runs, where its files lie, who watches it."""


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


def job_name(overrides: Sequence[str], varied: Collection[str] = ()) -> str:
    """A folder name that depends on nothing but what the job is: ``experiment-demo_seed-1``.

    The same job of a repeated or longer sweep gets the same name, so that finished jobs are found
    and skipped. Where it runs and where it writes are no part of the job, unless that varies. A
    long name is cut: it holds what varies and a hash of all.

    Args:
        overrides: The job's ``key=value``.
        varied: Keys whose values differ from job to job.
    """
    kept = [
        override
        for override in overrides
        if _counts(_key(override), varied) and not override.startswith("hydra")
    ]
    # Groups, seed and the like first: what a long name loses is the least telling.
    kept.sort(key=lambda override: ("." in override.partition("=")[0], override))
    name = _words(kept)
    # A minus inside a key or a value could be taken for the one between them.
    readable = all(re.fullmatch(r"[\w./@]+=[\w.+]*", override) for override in kept)
    if readable and 0 < len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(",".join(kept).encode()).hexdigest()[:8]
    telling = _words([override for override in kept if _key(override) in varied]) or name
    return f"{telling[:_LONGEST].rstrip('-_')}_{digest}" if telling else f"job_{digest}"


def _words(overrides: Sequence[str]) -> str:
    text = "_".join(overrides).replace("=", "-").replace(",", "_")
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-_")


def varied_keys(jobs: Sequence[Sequence[str]]) -> frozenset[str]:
    """The keys that do not have one value in all jobs."""
    constant = set.intersection(*map(set, jobs)) if jobs else set()
    return frozenset(_key(o) for job in jobs for o in job if o not in constant)


def own_output(
    cfg: DictConfig, sweep_dir: str, name: str, overrides: Sequence[str], varied: Collection[str]
) -> None:
    """Give a job of a multirun a result directory of its own, unless ``output`` is what varies.

    Where the verb itself finds a place (``output`` is null: an evaluation lies in its run), only
    jobs that differ by what that place is named after are left there.
    """
    if "output" not in cfg or (cfg.output is None and set(varied) <= _IN_THE_PLACE):
        return
    given = any(str(override).startswith("output=") for override in overrides)
    if not given or expanded(cfg.output) == expanded(sweep_dir):
        cfg.output = str(_folder(expanded(sweep_dir), name))


def _folder(sweep_dir: Path, name: str) -> Path:
    """The job's folder; an earlier sweep in which other keys varied has cut the name elsewhere."""
    digest = re.search(r"_[0-9a-f]{8}$", name)
    earlier = sorted(sweep_dir.glob(f"*{digest[0]}")) if digest else []
    return earlier[0] if earlier else sweep_dir / name


def _counts(key: str, varied: Collection[str]) -> bool:
    """Whether a key is part of what a job is."""
    return key in varied or not {key, key.partition(".")[0]} & _NOT_THE_JOB


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def sweep_folder(verb: str, overrides: Sequence[str]) -> str:
    """Where a multirun keeps its jobs: the ``output`` that the user gave, else one per verb."""
    given: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        given[key] = value.strip("'\"")
    for key in ("hydra.sweep.dir", "output"):
        if key in given and not {",", "("} & set(given[key]):
            return str(expanded(given[key]))
    return f"outputs/sweep/{verb}"


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
