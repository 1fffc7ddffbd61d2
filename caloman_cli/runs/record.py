"""``provenance.json``: what made a run, and the checksums of the files that the run has made."""

import logging
from collections.abc import Callable
from pathlib import Path

from caloman_cli.data.files import checksum, read_json, write_json

log = logging.getLogger(__name__)


class Record:
    """Entries of ``provenance.json``, each set as a whole.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict:
        """All entries; none where there is no file.

        Raises:
            UserError: The file is damaged.
        """
        if not self.path.exists():
            return {}
        return read_json(self.path, "remove it to go on without what it says")

    def set(self, **entries: object) -> None:
        write_json(self.path, {**self.read(), **entries})

    def seal(self, file: Path, of: str | None = None) -> None:
        """Keep the checksum of a file of the run, and what it was made of."""
        entry = {"sha256": checksum(file)} | ({} if of is None else {"of": of})
        self.set(checksums={**self._checksums(), self._name(file): entry})

    def forget(self, file: Path) -> None:
        """Drop the checksum of a file that is not needed any more."""
        known = self._checksums()
        if known.pop(self._name(file), None) is not None:
            self.set(checksums=known)

    def intact(self, file: Path) -> bool | None:
        """Whether a file is as the run has written it; None where that is not on record."""
        entry = self._checksums().get(self._name(file))
        if entry is None:
            return None
        return file.is_file() and checksum(file) == entry["sha256"]

    def damaged(self) -> list[Path]:
        """Files that are there and are not as the run has written them."""
        files = [self.path.parent / name for name in self._checksums()]
        return [file for file in files if file.exists() and not self.intact(file)]

    def ensure(self, file: Path, make: Callable[[], None], of: str | None = None) -> bool:
        """Make a file of the run where it is missing, damaged or made of something else.

        Args:
            file: The file.
            make: Writes it whole or not at all.
            of: Checksum of what it is made of.

        Returns:
            Whether it is another file than the one on record.
        """
        known = self._checksums().get(self._name(file), {})
        if known.get("of") == of and self.intact(file):
            return False
        if known and file.exists():
            log.warning("%s is damaged or outdated: made again", file)
        make()
        self.seal(file, of)
        return bool(known) and known["sha256"] != self._checksums()[self._name(file)]["sha256"]

    def _checksums(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = self.read().get("checksums", {})
        return found

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path.parent).as_posix()
