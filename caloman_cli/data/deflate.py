"""How the voxels of a new file are packed: all of it plain HDF5 that every reader knows."""

import logging
import zlib
from collections.abc import Callable
from typing import Any

from caloman_cli.config.values import Compression

Pack = Callable[[Any], bytes]
"""A chunk, C-contiguous -> the bytes that HDF5's filters would make of it."""
GZIP_LEVEL = 4  # h5py's default
_FAST_LEVEL = 1  # of either library
log = logging.getLogger(__name__)


def filters(compression: Compression) -> dict[str, Any]:
    """What h5py is to note beside the data."""
    if compression == "none":
        return {}
    return {"compression": "gzip", "compression_opts": GZIP_LEVEL}


def packer(compression: Compression) -> Pack:
    """The function that packs chunks; it may be called by several threads.

    ``fast`` is ISA-L, of the extra ``fast``, and where that is not installed zlib's lowest level,
    which a line says. Any of them is read by any gzip.

    References:
        Intel, Intelligent Storage Acceleration Library (ISA-L).
    """
    if compression == "none":
        return bytes
    if compression == "gzip":
        return lambda chunk: zlib.compress(chunk, GZIP_LEVEL)
    try:
        from isal import isal_zlib
    except ImportError:
        log.warning(
            "compression=fast without the package isal is zlib's level %d, hardly faster than "
            'gzip: pip install "caloman[fast]"',
            _FAST_LEVEL,
        )
        return lambda chunk: zlib.compress(chunk, _FAST_LEVEL)
    return lambda chunk: isal_zlib.compress(chunk, _FAST_LEVEL)
