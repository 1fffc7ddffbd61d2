"""The folder of each job of a sweep: named by what varies, and found again by what the job is."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from caloman_cli.config.paths import expanded
from caloman_cli.data.files import read_json, write_json
from caloman_cli.errors import UserError

INDEX = ".jobs.json"
"""In the folder of a sweep: what each job is -> its folder, over all sweeps that went there."""
_LONGEST = 80
_IN_THE_PLACE = {"run", "evaluation"}  # RUN/evaluation/<suite>
_NOT_THE_JOB = {
    "output", "device", "data_dir", "cache_dir", "logger", "dataset.train", "dataset.reference",
    "evaluate_after", "name", "tags",
}  # fmt: skip
"""Keys that do not make another job: where it runs, where its files lie, who watches it."""


def varied_keys(jobs: Sequence[Sequence[str]]) -> frozenset[str]:
    """The keys that do not have one value in all jobs."""
    constant = set.intersection(*map(set, jobs)) if jobs else set()
    return frozenset(_key(o) for job in jobs for o in job if o not in constant)


def job_name(overrides: Sequence[str], varied: Collection[str]) -> str:
    """``encoder.latent_dim-10_seed-1``: what varies, and nothing else; groups first, seed last.

    Of a path only the name. Where nothing varies, or nobody knows what does, all that the job is.

    Args:
        overrides: The job's ``key=value``.
        varied: Keys whose values differ from job to job.
    """
    mine = [override for override in _own(overrides, varied) if _key(override) in varied]
    if not mine:
        return full_name(overrides, varied)
    mine.sort(key=lambda o: (_key(o) == "seed", "." in _key(o), o))
    pairs = (override.lstrip("+~").partition("=") for override in mine)
    name = _words([f"{key}={_bare(value)}" for key, _, value in pairs])
    if 0 < len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST].rstrip('-_.')}_{job_id(overrides, varied)[:8]}"


def job_id(overrides: Sequence[str], varied: Collection[str] = ()) -> str:
    """What a job is, as a hash; where it runs and where it writes count only where they vary."""
    return hashlib.sha256(",".join(_own(overrides, varied)).encode()).hexdigest()


def full_name(overrides: Sequence[str], varied: Collection[str] = ()) -> str:
    """All that was typed, ``experiment-demo_seed-1``; a long one is cut and has a hash.

    Sweeps of version 0.2 and before have their jobs in folders of this name.
    """
    kept = _own(overrides, varied)
    name = _words(kept)
    # A minus inside a key or a value could be taken for the one between them.
    readable = all(re.fullmatch(r"[\w./@]+=[\w.+]*", override) for override in kept)
    if readable and 0 < len(name) <= _LONGEST:
        return name
    digest = job_id(overrides, varied)[:8]
    telling = _words([override for override in kept if _key(override) in varied]) or name
    return f"{telling[:_LONGEST].rstrip('-_')}_{digest}" if telling else f"job_{digest}"


def assigned(
    sweep_dir: Path,
    jobs: Sequence[Sequence[str]],
    varied: Collection[str],
    *,
    keep: bool = True,
) -> dict[str, str]:
    """The folder's name for each job, kept in the sweep's folder.

    The same job of a repeated or longer sweep gets the same folder, so that finished jobs are
    found and skipped; another job whose name is taken gets a hash behind it.

    Args:
        sweep_dir: The sweep's folder.
        jobs: The overrides of each job.
        varied: Keys whose values differ from job to job.
        keep: Whether to write what was found, else nothing is made.

    Returns:
        :func:`job_id` -> name.

    Raises:
        UserError: The sweep's folder is a file, or cannot be written.
    """
    from filelock import FileLock

    if not keep:
        return _assigned(sweep_dir, jobs, varied)[0]
    try:
        sweep_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(sweep_dir / ".jobs.lock"):
            found, known = _assigned(sweep_dir, jobs, varied)
            write_json(sweep_dir / INDEX, known)
            return found
    except (OSError, NotImplementedError) as error:
        raise UserError(f"cannot keep the jobs in {sweep_dir}: {error}") from error


def _assigned(
    sweep_dir: Path, jobs: Sequence[Sequence[str]], varied: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Folders of these jobs, and of all that the sweep's folder knows."""
    index = sweep_dir / INDEX
    known: dict[str, str] = read_json(index, "remove it") if index.exists() else {}
    found: dict[str, str] = {}
    for job in jobs:
        identity = job_id(job, varied)
        if identity not in known:
            name = _older(sweep_dir, full_name(job, varied)) or job_name(job, varied)
            taken = name in known.values()
            known[identity] = f"{name}_{identity[:8]}" if taken else name
        found[identity] = known[identity]
    return found, known


def own_output(
    cfg: DictConfig,
    sweep_dir: str,
    overrides: Sequence[str],
    varied: Collection[str],
    names: Mapping[str, str],
) -> None:
    """Give a job of a multirun a result directory of its own, unless ``output`` is what varies.

    Args:
        cfg: The job's config.
        sweep_dir: Where the sweep's jobs lie.
        overrides: What was typed for it.
        varied: Keys whose values differ from job to job.
        names: What :func:`assigned` said; a sweep that chooses its jobs on the way has none.
    """
    if keeps_folders(cfg, sweep_dir, overrides, varied):
        name = names.get(job_id(overrides, varied)) or full_name(overrides, varied)
        cfg.output = str(expanded(sweep_dir) / name)


def keeps_folders(
    cfg: DictConfig, sweep_dir: str, overrides: Sequence[str], varied: Collection[str]
) -> bool:
    """Whether a sweep has a folder a job.

    Where the verb itself finds a place (``output`` is null: an evaluation lies in its run), only
    jobs that differ by what that place is named after are left there.
    """
    if "output" not in cfg or (cfg.output is None and set(varied) <= _IN_THE_PLACE):
        return False
    given = any(_key(str(override)) == "output" for override in overrides)
    return not given or expanded(cfg.output) == expanded(sweep_dir)


def refuse_one_file(jobs: Sequence[Sequence[str]], varied: Collection[str]) -> None:
    """Raise a UserError where several jobs would write ``out=``, one in the place of the other."""
    given = any(word.startswith("out=") and word != "out=null" for job in jobs for word in job)
    if len(jobs) > 1 and given and "out" not in varied:
        raise UserError(
            f"out= is one file, and these are {len(jobs)} jobs: leave it out, or give a file for"
            " each, out=A,B"
        )


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


def _older(sweep_dir: Path, name: str) -> str | None:
    """The job's folder by an earlier version, in a sweep of which other keys may have varied."""
    digest = re.search(r"_[0-9a-f]{8}$", name)
    earlier = sorted(sweep_dir.glob(f"*{digest[0]}")) if digest else [sweep_dir / name]
    return next((path.name for path in earlier if path.is_dir()), None)


def _own(overrides: Sequence[str], varied: Collection[str]) -> list[str]:
    """The overrides that are part of what a job is, sorted.

    Groups, seed and the like first: what a long name loses is the least telling.
    """
    kept = [
        override
        for override in overrides
        if _counts(_key(override), varied) and not override.startswith("hydra")
    ]
    return sorted(kept, key=lambda override: ("." in override.partition("=")[0], override))


def _counts(key: str, varied: Collection[str]) -> bool:
    """Whether a key is part of what a job is."""
    groups = {key, key.partition(".")[0], key.partition("@")[0]}
    return key in varied or not groups & _NOT_THE_JOB


def _bare(value: str) -> str:
    """A value without brackets, quotes and the folders of paths."""
    items = re.sub(r"[\[\]{}'\"]", "", value).split(",")
    return ",".join(Path(item).name if "/" in item else item for item in items)


def _words(overrides: Sequence[str]) -> str:
    text = "_".join(overrides).replace("=", "-").replace(",", "_")
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-_")


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
