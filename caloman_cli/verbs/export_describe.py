"""``caloman export describe``: what a file of ``caloman export`` says of itself."""

from pathlib import Path

from omegaconf import DictConfig

from caloman_cli.runs.console import say


def run(cfg: DictConfig) -> None:
    """Print what a file says of itself, or all of it as JSON.

    Args:
        cfg: The checked config of ``conf/export_describe.yaml``.

    Raises:
        UserError: The file is none of ``caloman export``, or what reads it is not installed.
    """
    import json

    from caloman_cli.export.facts import lines
    from caloman_cli.export.files import describe

    found = describe(Path(cfg.file))
    say(json.dumps(found, indent=2) + "\n" if cfg.json else "\n".join(lines(found)) + "\n")
