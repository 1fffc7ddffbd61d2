#!/usr/bin/env bash
# What latents are worth to a head that draws layers apart: the table of docs/results.md. A fifth of one file judges and is not learned from.
#   scripts/studies/latents.sh TRAIN.hdf5 [ROW ...]
set -euo pipefail

out=${OUT:-outputs/latents}
epochs=15
judges=(metric=[classifier])
mkdir -p "$out"
source "$(dirname "$0")/latents_row.sh"

row none head.harmonics=0 encoder=none
row learned head.harmonics=0
row learned_16 head.harmonics=0 encoder.latent_dim=16 encoder.free_bits=1.5
row harmonics
row harmonics_alone encoder=none
