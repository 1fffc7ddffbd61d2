#!/usr/bin/env bash
# Makes the model that run=pretrained:photons draws from, and the showers that its test expects.
#   scripts/pretrained.sh
set -euo pipefail

run=${OUT:-outputs/pretrained_photons}
shipped=caloman_cli/pretrained/photons
caloman train experiment=pretrained_photons output="$run"
mkdir -p "$shipped"
cp "$run/model.pt" "$run/config.yaml" "$shipped"
caloman sample run="$run" n=40 seed=3 out="$run/golden.hdf5" overwrite=true
python - "$run/golden.hdf5" tests/assets/pretrained_photons.npz << 'END'
import sys

import h5py
import numpy as np

with h5py.File(sys.argv[1]) as file:
    np.savez_compressed(sys.argv[2], **{name: file[name][:] for name in file})
END
