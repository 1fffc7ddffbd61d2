"""Hydra's and OmegaConf's errors, said in one line that lists what exists."""

import difflib
import re
from collections.abc import Iterable

from caloman_cli.config.compose import CONF
from caloman_cli.errors import UserError

_LISTED = 12
_HABITS = {
    "n": ("n_samples", "num_samples", "n_showers", "n_events", "nevents", "num", "N", "size"),
    "output": ("out", "out_dir", "outdir", "output_dir", "dir"),
    "out": ("output", "outfile", "file"),
    "epochs": ("max_epochs", "n_epochs", "num_epochs", "nepochs"),
    "lr": ("learning_rate",),
    "batch_size": ("batchsize", "bs", "batch"),
    "latent_dim": ("latent_size", "n_latents", "z_dim", "latent"),
    "overwrite": ("force",),
    "device": ("accelerator", "gpu", "gpus"),
    "experiment": ("exp",),
    "generated": ("input", "file"),
    "runs": ("run",),
    "run": ("runs", "ckpt_path", "checkpoint", "model"),
}
"""Name of a key -> what users of other programs call it."""

_EXTRAS = {
    "submitit_slurm": "the launcher for Slurm comes with the extra: pip install 'caloman[slurm]'",
    "submitit_local": "submitit comes with the extra: pip install 'caloman[slurm]'",
    "optuna": "caloman has no search by Optuna; a grid is -m key=1,2,3",
}
"""Options of Hydra's groups that a package brings which is not there."""
_DISTILLED = {
    "density=consistency": "caloman distill run=RUN method=cd (or direct)",
    "density=flow_map": "caloman distill run=RUN",
}
"""What no training makes, and the command that does."""


def one_line(error: BaseException) -> str:
    """An exception's message, and its cause's where that adds something, without line breaks."""
    message, cause = (
        re.sub(r"\s*full_key: (\S*).*$", r" (\1)", " ".join(str(part or "").split()))
        for part in (error, error.__cause__)
    )
    message = message or type(error).__name__
    return f"{message}: {cause}" if cause and cause not in message else message


def suggestion(given: str, known: Iterable[str]) -> str:
    """What to try instead: the nearest name, and the names that exist.

    Args:
        given: What the user wrote.
        known: The names that exist where the user wrote it.

    Returns:
        ``"did you mean 'encoder'? (there is: dataset, encoder, ...)"``
    """
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(given, names, 1, 0.6)
    if not near and "." in given:
        tails = {name.rsplit(".", 1)[-1]: name for name in names}
        near = [tails[n] for n in difflib.get_close_matches(given.rsplit(".", 1)[-1], tails, 1)]
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    exists = f"there is: {listed}" if names else "nothing can be set there"
    return f"did you mean '{near[0]}'? ({exists})" if near else exists


def habit(given: str, known: Iterable[str]) -> str | None:
    """The key that users of other programs mean by a name, where it is among those that exist."""
    names = set(known)
    meant = (name for name, others in _HABITS.items() if given in others)
    return next((name for name in meant if name in names), None)


def elsewhere(given: str, keys: Iterable[str]) -> list[str]:
    """Keys that end in the very name that was given, nearest to where it was given.

    Args:
        given: A key that does not exist, ``encoder.epochs``.
        keys: All that do, with dots where nested.

    Returns:
        ``["trainer.encoder.epochs"]``; of ``epochs`` those of all three stages.
    """
    *parents, leaf = given.split(".")
    keys = list(dict.fromkeys(keys))
    leaves = {key.rpartition(".")[2] for key in keys}
    name = leaf if leaf in leaves else habit(leaf, leaves)
    found = [key for key in keys if key.rpartition(".")[2] == name]
    shared = {key: len(set(parents) & set(key.split("."))) for key in found}
    if parents and not any(shared.values()):
        return []  # logger.name is no name of a dataset
    return [key for key in found if shared[key] == max(shared.values())][:_LISTED]


def unknown_option(error: BaseException) -> UserError | None:
    """``encoder=vaee``: an option that its group does not have."""
    found = re.search(r"Could not find '([^']+)'", str(error))
    if found is None:
        return None
    group, _, option = found.group(1).rpartition("/")
    if found.group(1).startswith("dataset/"):
        group, _, option = found.group(1).partition("/")
    listed = re.search(r"Available options in '[^']*':\s*(.*?)(?:Config search path|$)",
                       str(error), re.DOTALL)  # fmt: skip
    known = listed.group(1).split() if listed else []
    if not group:
        return UserError(f"config '{option}' does not exist")
    what = f"{group}={option}"
    if group.startswith("hydra/") and option in _EXTRAS and option not in known:
        return UserError(f"{what} does not exist: {_EXTRAS[option]}")
    if what in _DISTILLED:
        return UserError(
            f"{what} learns from a trained run, not from showers: train density=flow_matching or "
            f"diffusion, then {_DISTILLED[what]}"
        )
    if group == "dataset":
        or_run = "or a run in its place, dataset=RUN: its directory or model.pt"
        return UserError(f"{what} does not exist: {suggestion(option, known)}, {or_run}")
    if not known:
        return UserError(f"{what} does not exist, nor any option of '{group}'")
    return UserError(f"{what} does not exist: {suggestion(option, known)}")


def without_part(error: BaseException) -> UserError | None:
    """``density@density.part=gmm``, where the density is made of no other."""
    found = re.search(r"Could not override '(\w+)@([\w.]+)'", str(error))
    if found is None:
        return None
    group, where = found.groups()
    files = sorted((CONF / group).glob("*.yaml"))
    having = [file.stem for file in files if f"/{group}@" in file.read_text(encoding="utf-8")]
    use = f": choose {group}={' or '.join(having)}" if having else ""
    return UserError(f"{group}@{where}= chooses a part that this {group} does not have{use}")


def no_mapping(error: BaseException) -> UserError | None:
    """``parts=[a,b]``, where there are keys with values, or the other way round."""
    text = r"Error merging override (([^=\s]+)=(.*?)): Cannot merge"
    found = re.search(text, one_line(error))
    if found is None:
        return None
    if found[3].startswith("{"):
        return UserError(f"{found[1]}: must be a list, {found[2]}=[a,b]")
    return UserError(f"{found[1]}: must be names with values, {found[2]}.NAME=VALUE")


def unchosen_group(error: BaseException) -> tuple[str, list[str]] | None:
    """The group that the user has to choose from, and its options."""
    found = re.search(r"You must specify '([^']+)'", str(error))
    if found is None:
        return None
    return found.group(1), str(error).partition("Available options:")[2].split()


def unknown_key(error: BaseException) -> str | None:
    """The key of ``encoder.latnt_dim=3`` that the composed config does not have."""
    found = re.search(r"Could not (?:override|delete from config|delete) '([^']+)'", str(error))
    cause = str(error.__cause__ or error)
    inner = re.search(r"full_key: (\S+)", cause)
    if found and inner and inner[1].startswith(f"{found[1]}."):
        return inner[1]  # parts={mine:1}
    struct = "not in struct" in cause or re.search(r"Key '[^']*' not in '", cause)
    return found.group(1) if found and (struct or "delete" in found.group(0)) else None


def unreadable(error: BaseException, many: bool = False) -> UserError | None:
    """``run=a(b)``: a line that Hydra's grammar cannot read.

    Args:
        error: Hydra's.
        many: Whether ``-m`` was given.
    """
    grammar = (
        "LexerNoViableAlt", "mismatched input", "token recognition", "extraneous input",
        "missing EQUAL", "no viable alternative", "Error parsing override", "Ambiguous value",
    )  # fmt: skip
    if not any(phrase in str(error) for phrase in grammar):
        return None
    if "Ambiguous value" in str(error):
        found = re.search(r"for argument '([^']*)'", str(error))
        what = found.group(1) if found else "a value"
        if many:
            return UserError(
                f"{what} lists several values: give the values of one job, without -m"
            )
        return UserError(
            f"{what} lists several values: write -m for one job per value, [a,b] for a list, "
            "or quote a value that has a comma: \"key='a,b'\""
        )
    found = re.search(r"override '([^\n]*)'", str(error))
    what = found.group(1) if found else one_line(error)
    return UserError(f"cannot read {what}: quote values with special signs: \"key='value'\"")
