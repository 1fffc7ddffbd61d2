"""Kills a command before each of its file events, repeats it, compares with an undisturbed one.

``python -m tests.kills VERB:EVERY:FIRST ...`` tries the first events and every n-th other in
forked children, which need no second import, and prints what it found as JSON.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
KILLED = 137

SMALL = [
    "encoder=vae", "head=gaussian", "energy=nsf", "encoder.latent_dim=3", "encoder.hidden=[8]",
    "energy.n_layers=1", "energy.hidden=8", "energy.n_blocks=1", "energy.mask_hidden=8",
    "preprocess=energy_shares", "calibration=none",
    *(f"trainer.{stage}.{key}" for stage in ("energy", "encoder", "density")
      for key in ("epochs=2", "batch_size=64", "warmup=0")),
]  # fmt: skip
RUN = ["train", "dataset=ds1_photons", "dataset.train=[t.hdf5]", *SMALL, "output=run",
       "density=flow_matching", "density.steps=2", "density.hidden=8",
       "density.n_blocks=1"]  # fmt: skip
SETUP = {
    "train": [],
    "overwrite": [[*RUN, "seed=2"], ["sample", "run=run", "n=20"]],
    "distill": [RUN],
    "sample": [RUN],
    "evaluate": [RUN],
    "generate": [],
    "builtin": [],
}
COMMANDS = {
    "train": RUN,
    "overwrite": [*RUN, "overwrite=true"],
    "distill": ["distill", "run=run", "output=student", "paths=50",
                "trainer.density.epochs=2", "trainer.density.warmup=0"],
    "sample": ["sample", "run=run", "n=50", "out=s.hdf5"],
    "evaluate": ["evaluate", "run=run", "reference=t.hdf5", "evaluation=intrinsic_dimension",
                 "output=scores"],
    "generate": ["data", "generate", "dataset=ds1_photons", "n=50", "out=g.hdf5"],
    "builtin": ["train", "dataset=builtin_photons", "dataset.builtin.n_train=120", *SMALL,
                "density=standard_normal", "output=run"],
}  # fmt: skip
# What says when, where or how fast: there, with other bytes.
_OF_THE_MOMENT = ("status.json", "provenance.json", "done.json", "train.log", "history.jsonl",
                  "metrics.json", "report.html", "report.md", ".lock")  # fmt: skip


def command(words: list[str], kill_at: int | None = None, count: int | None = None) -> int:
    """Run a command in a forked child, killed before its n-th file event.

    Args:
        words: The command.
        kill_at: The event, from 1.
        count: Descriptor that is told the number of events.

    Returns:
        Its exit status.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        error = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(error, 2)
        here, events = str(Path.cwd()), 0

        def watch(event: str, arguments: tuple) -> None:
            nonlocal events
            if event == "open":
                place, _, flags = arguments
                if not flags & _WRITING or not str(place).startswith(here):
                    return
            elif event not in _CHANGES:
                return
            events += 1
            if events == kill_at:
                os._exit(KILLED)

        sys.addaudithook(watch)
        from caloman_cli.cli.main import main

        status = main([*words, f"cache_dir={here}/cache"] if words[0] in _CACHED else words)
        if count is not None:
            os.write(count, str(events).encode())
        os._exit(status)
    except BaseException:  # noqa: BLE001 (a child must not return into the parent's code)
        os._exit(99)


_CACHED = ("train", "evaluate")


def contents(folder: Path) -> dict[str, str]:
    """Checksum of each file; of what names the moment, that it is there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and "/fingerprints/" not in name and "/features/" not in name:
            found[name] = "there" if path.name in _OF_THE_MOMENT else _checksum(path)
    return found


def _checksum(path: Path) -> str:
    content = path.read_bytes()
    if path.name == "last.pt":
        from caloman_cli.data.files import load_state

        state = load_state(path)
        state["state"].pop("seconds")
        content = repr(_plain(state)).encode()
    return hashlib.sha256(content).hexdigest()


def _plain(state: Any) -> Any:
    """Every number of a checkpoint; its bytes also depend on which tensors share memory."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_plain(value) for value in state]
    return state.tolist() if hasattr(state, "tolist") else state


def trial(verb: str, every: int, first: int) -> dict:
    """Kill a verb before its first events and before every n-th of the others."""
    base = Path(tempfile.mkdtemp(prefix="kills-")).resolve()
    work = base / "work"
    try:
        (base / "start").mkdir()
        shutil.copytree(base / "start", work)
        os.chdir(work)
        setup = [["data", "generate", "dataset=ds1_photons", "n=120", "out=t.hdf5"], *SETUP[verb]]
        for words in setup:
            assert command(words) == 0, words
        shutil.rmtree(base / "start")
        shutil.copytree(work, base / "start")
        reader, writer = os.pipe()
        assert command(COMMANDS[verb], count=writer) == 0, COMMANDS[verb]
        n, whole, wrong = int(os.read(reader, 20)), contents(work), {}
        chosen = [k for k in range(1, n + 1) if k <= first or k % every == 0]
        for k in chosen:
            os.chdir(base)
            shutil.rmtree(work)
            shutil.copytree(base / "start", work)
            os.chdir(work)
            if command(COMMANDS[verb], kill_at=k) != KILLED:
                wrong[k] = "was not killed"
                continue
            status = command(COMMANDS[verb])
            left = contents(work)
            apart = sorted(name for name in {*whole, *left} if whole.get(name) != left.get(name))
            # A file that is there already is the user's: the second command says so.
            if status not in ((0, 2) if verb in ("sample", "generate", "evaluate") else (0,)):
                wrong[k] = f"status {status}"
            elif apart:
                wrong[k] = f"status {status}, differs: {', '.join(apart)}"
            sys.stderr.write(f"{verb}: event {k} of {n}: {wrong.get(k, 'ok')}\n")
    finally:
        os.chdir("/")
        shutil.rmtree(base)
    return {"verb": verb, "events": n, "tried": len(chosen), "wrong": wrong}


def main(wanted: list[str]) -> None:
    import matplotlib.figure  # noqa: F401
    import torch

    import caloman_cli.verbs.distill
    import caloman_cli.verbs.evaluate
    import caloman_cli.verbs.sample
    import caloman_cli.verbs.train  # noqa: F401

    torch.set_num_threads(1)
    found = []
    for item in wanted:
        verb, every, first = item.split(":")
        found.append(trial(verb, int(every), int(first)))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
