"""The table of verbs; it imports nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One thing that ``caloman`` does.

    Args:
        words: What the user types, ``data check``.
        summary: One line for the help.
        argument: The key that a leading argument without ``=`` is given to.
        several: Whether it takes several of them, as a list.
    """

    words: str
    summary: str
    argument: str | None = None
    several: bool = False

    @property
    def config(self) -> str:
        """Name of the primary config and of the module below ``caloman_cli.verbs``."""
        return self.words.replace(" ", "_")


VERBS = {
    verb.words: verb
    for verb in (
        Verb("train", "fit energy model, encoder and density; resume what was cut"),
        Verb("distill", "make a run that samples in one network call from a flow_matching run"),
        Verb("sample", "draw showers from a run, write them as HDF5"),
        Verb("evaluate", "score showers against a reference: report, tables, plots, timing"),
        Verb("report", "compare evaluations of many runs in one table"),
        Verb("export", "write a run's model as a file for other programs: ONNX, torch.export"),
        Verb("export describe", "print what such a file says of itself", argument="file"),
        Verb("data download", "fetch official files, checksums verified"),
        Verb("data check", "look through a file of showers for problems", argument="file"),
        Verb(
            "data geometry", "print and draw a detector's layers, rings, slices", argument="file"
        ),
        Verb("data split", "divide a file into parts that share no shower", argument="file"),
        Verb("data merge", "join files of one detector", argument="files", several=True),
        Verb("data select", "showers of a file by incident energy or row", argument="file"),
        Verb("data limit", "at most so many showers of a file", argument="file"),
        Verb("data convert", "showers to point clouds, ROOT, Parquet and back", argument="file"),
        Verb("data generate", "make showers with the built-in generator"),
    )
}

CONFIG = {
    "config dump": "print what a command composes to, resolved, as YAML",
    "config validate": "look at an experiment file, or at one option of a group",
    "config schema": "print a JSON schema of such files, for editors",
}
"""What is asked about configs, without a config of its own."""
