"""Fetch the official files: a cut download continues where it stopped, and checksums decide."""

import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from caloman_cli import __version__
from caloman_cli.config.dataset import PublicFile
from caloman_cli.data.files import checksum, write_error
from caloman_cli.errors import UserError

ADDRESS = "https://zenodo.org/records/{record}/files/{name}?download=1"
TIMEOUT = 60.0  # seconds without a byte
PAUSE = 1.0  # seconds before the second attempt, doubled for each further one
BLOCK = 2**18  # bytes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile(PublicFile):
    """A file, and where it is.

    Args:
        name: Its name there and here.
        md5: Its checksum, 32 hexadecimal digits.
        record: Number of the record.
        doi: Identifier to cite.
    """

    record: int
    doi: str


def download(
    files: Sequence[RemoteFile],
    folder: Path,
    address: str = ADDRESS,
    attempts: int = 3,
    pause: float = PAUSE,
) -> list[Path]:
    """Bring files into a folder; those which are there and right are left alone.

    Args:
        files: What to fetch.
        folder: Where to put it.
        address: URL with ``{record}`` and ``{name}``.
        attempts: How often to try without getting a byte further.
        pause: Seconds before the second attempt.

    Raises:
        UserError: The server cannot be reached or does not have a file, a checksum is wrong, or
            the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    for position, file in enumerate(files):
        target = folder / file.name
        if target.exists():
            found = _md5(target)
            if found != file.md5:
                raise UserError(
                    f"{target} exists with MD5 {found}, but the record says {file.md5}: move it "
                    "away or choose another data_dir=DIR"
                )
            log.info("%s is here and its checksum is right", target)
            continue
        url = address.format(record=file.record, name=file.name)
        try:
            _fetch(url, target, file, attempts, pause)
        except (http.client.HTTPException, OSError) as error:
            raise _by_hand(files[position:], folder, url, error) from error
    return [folder / file.name for file in files]


def _fetch(url: str, target: Path, file: RemoteFile, attempts: int, pause: float) -> None:
    """Fetch one file with as many continuations as it takes."""
    part = target.with_name(f"{target.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            if _continue(url, part):
                break
            raise http.client.IncompleteRead(b"")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(
                    f"{url} answered {error.code} {error.reason}: look for {file.name} "
                    f"at https://doi.org/{file.doi} and put it at {target}"
                ) from error
            reason: Exception = error
        except (http.client.HTTPException, OSError) as error:
            reason = error
        failures = 0 if _size(part) > before else failures + 1
        if failures >= attempts:
            raise reason
        why = getattr(reason, "reason", reason)
        log.warning("%s stopped at %d bytes (%s), trying again", file.name, _size(part), why)
        time.sleep(pause * 2 ** max(0, failures - 1))
    found = _md5(part)
    if found != file.md5:
        part.unlink()
        raise UserError(
            f"{file.name} arrived with MD5 {found}, but the record says {file.md5}: nothing was "
            f"kept; try again, or see https://doi.org/{file.doi} for a newer version"
        )
    part.replace(target)
    log.info("%s is complete and its checksum is right", target)


def _continue(url: str, part: Path) -> bool:
    """Append what is missing of ``part``; True when the server has no more to give."""
    have = _size(part)
    headers = {"User-Agent": f"caloman/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after what is here: the checksum will tell
            error.close()
            return True
        raise
    with answer:
        # A server may ignore the range (200) and start from the first byte.
        start = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        try:
            with (
                part.open("ab" if start else "wb") as stream,
                tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
            ):
                while block := _receive(answer):
                    stream.write(block)
                    bar.update(len(block))
        except _LineCut as cut:
            raise cut.reason from cut
        except OSError as error:
            raise write_error(part, error) from error
    return total is None or _size(part) >= total


class _LineCut(Exception):
    """The network failed, as opposed to the disk."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _receive(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(BLOCK)
    except (http.client.HTTPException, OSError) as error:
        raise _LineCut(error) from error


def _by_hand(files: Sequence[RemoteFile], folder: Path, url: str, error: Exception) -> UserError:
    """One message with everything that a person needs to bring the files from elsewhere."""
    reason = getattr(error, "reason", error)
    wanted = "; ".join(f"{file.name} (MD5 {file.md5})" for file in files)
    return UserError(
        f"cannot download from {url.split('/')[2]} ({reason}): fetch {wanted} from "
        f"https://doi.org/{files[0].doi} on another machine, put it in {folder} and run this "
        "command again to verify; what has arrived stays and is continued"
    )


def _md5(path: Path) -> str:
    try:
        return checksum(path, "md5")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
