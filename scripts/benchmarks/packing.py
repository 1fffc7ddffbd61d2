#!/usr/bin/env python
"""What packing showers costs: each compression of `caloman sample`, on one thread.

python scripts/benchmarks/packing.py SHOWERS.hdf5 [ROWS]
"""

import argparse
import time
from pathlib import Path
from typing import get_args

import h5py
import numpy as np

from caloman_cli.config.values import Compression
from caloman_cli.data.deflate import packer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("rows", type=int, nargs="?", default=4096)
    arguments = parser.parse_args()
    with h5py.File(arguments.file) as file:
        voxels = np.ascontiguousarray(file["showers"][: arguments.rows], np.float32)
    chunks = np.array_split(voxels, max(1, voxels.nbytes // 2**20))
    for compression in get_args(Compression):
        pack = packer(compression)
        began = time.process_time()
        size = sum(len(pack(chunk)) for chunk in chunks)
        each = 1e6 * (time.process_time() - began) / len(voxels)
        print(f"{compression:5}  {each:8.2f} us a shower  {size / voxels.nbytes:.3f} of the bytes")


if __name__ == "__main__":
    main()
