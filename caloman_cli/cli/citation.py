"""How to cite the software and what it rests on, from the file ``CITATION.cff``."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

_ROOMS = Path(__file__).resolve().parents
# Inside the package when installed from a wheel, beside it in a checkout.
_FILE = next(room / "CITATION.cff" for room in _ROOMS[1:3] if (room / "CITATION.cff").is_file())


def bibtex() -> str:
    """An entry of the software and one of each paper."""
    content: Any = OmegaConf.to_container(OmegaConf.load(_FILE))
    released = str(content["date-released"])
    software = {
        "title": f"{{{content['title']}}}",
        "author": _authors(content),
        "version": content["version"],
        "date": released,
        "year": released[:4],
    }
    entries = [_entry("software", f"caloman_{content['version']}", software)]
    for paper in content["references"]:
        number = str(paper["url"]).rpartition("/")[2]
        first = paper["authors"][0]["family-names"].lower()
        fields = {
            "title": f"{{{paper['title']}}}",
            "author": _authors(paper),
            "year": paper["year"],
            "eprint": number,
            "archiveprefix": "arXiv",
        }
        entries.append(_entry("misc", f"{first}{paper['year']}", fields))
    return "\n".join([f"% {' '.join(content['message'].split())}", *entries])


def _authors(work: dict[str, Any]) -> str:
    return " and ".join(_author(person) for person in work["authors"])


def _author(person: dict[str, str]) -> str:
    if "family-names" in person:
        return f"{person['family-names']}, {person['given-names']}"
    # BibTeX knows "others"; the name of a group is not to be turned round.
    return person["name"] if person["name"] == "others" else f"{{{person['name']}}}"


def _entry(kind: str, key: str, fields: dict[str, Any]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{re.sub(r'[^A-Za-z0-9_.]', '', key)},", *lines, "}"])
