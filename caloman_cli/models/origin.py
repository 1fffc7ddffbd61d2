"""Which caloman wrote a model file, for messages about one that this caloman cannot build."""

from pathlib import Path
from typing import Any

from caloman_cli.data.files import read_json
from caloman_cli.errors import UserError

_PROVENANCE = "provenance.json"
_DIGITS = 12  # of a commit


def written_by(path: Path, version: Any) -> str:
    """``caloman 0.2.0, commit 903dec3d8ea4 with changes``; the commit where a run beside knows it.

    Versions alone do not tell: between two of them heads got settings and tensors.

    Args:
        path: The model file.
        version: What it says itself.
    """
    said = f"caloman {version}"
    try:
        git = read_json(path.parent / _PROVENANCE, "").get("git")
    except (OSError, UserError):
        return said
    if not isinstance(git, dict) or not git.get("commit"):
        return said
    changed = " with changes" if git.get("dirty") else ""
    return f"{said}, commit {str(git['commit'])[:_DIGITS]}{changed}"
