"""Constraints that hold each direct dependency at its lower bound, from pyproject.toml.

python scripts/tools/lowest.py test forest slurm tensorboard > constraints-lowest.txt

The arguments are dependency groups and extras that are installed too. What these depend on in turn
is pip's to choose.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def main() -> None:
    content = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    print("\n".join(lowest(content, sys.argv[1:])))


def lowest(pyproject: dict, chosen: list[str]) -> list[str]:
    """``name==version`` of each direct dependency, of the chosen groups and extras too."""
    extras = pyproject["project"]["optional-dependencies"]
    groups = pyproject["dependency-groups"]
    known = {**extras, **groups}
    if unknown := sorted(set(chosen) - set(known)):
        sys.exit(f"{unknown[0]} is no group or extra: {', '.join(sorted(known))}")
    entries = list(pyproject["project"]["dependencies"])
    for name in chosen:
        entries += [entry for entry in known[name] if isinstance(entry, str)]
    found = {}
    for entry in entries:
        match = re.fullmatch(r"([\w.-]+)\s*(?:>=|==)\s*([\w.]+)(?:,.*)?", entry)
        if match is None:
            sys.exit(f"{entry} has no lower bound: write NAME>=VERSION")
        found[match[1]] = f"{match[1]}=={match[2]}"
    return sorted(found.values())


if __name__ == "__main__":
    main()
