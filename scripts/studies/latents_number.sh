#!/usr/bin/env bash
# How many latents: the rows of docs/latents.csv, for a mean that is the shower and for a head that draws. A fifth of one file judges and is not learned from.
#   scripts/studies/latents_number.sh TRAIN.hdf5 [ROW ...]
set -euo pipefail

out=${OUT:-outputs/latents_number}
epochs=${EPOCHS:-15}
judges=(metric=[classifier,ledger] evaluation.ledger.judges=null evaluation.ledger.max_showers=2000)
mkdir -p "$out"
model=(experiment=flagship1_photons head=multiscale trainer.energy.epochs=8)
model+=(trainer.encoder.epochs="$epochs" trainer.density.epochs="$epochs")
source "$(dirname "$0")/latents_row.sh"

energy=()
with_energy() { # one energy model for all: that of the first row
  [[ -f $out/gaussian_10/model.pt ]] && energy=(reuse="$out/gaussian_10") || energy=()
}

row gaussian_10 head=gaussian encoder.latent_dim=10 encoder.free_bits=0
with_energy
for n in 1 2 5 20 35; do
  row "gaussian_$n" head=gaussian encoder.latent_dim="$n" encoder.free_bits=0 "${energy[@]}"
done
row gaussian_0 head=gaussian encoder=none "${energy[@]}"
row gaussian_drawn head=gaussian head.sigma=voxel head.draw=true encoder.free_bits=0 "${energy[@]}"

for n in 1 2 5 10 20 35; do
  row "multiscale_$n" "${before[@]}" head.harmonics=0 encoder.latent_dim="$n" "${energy[@]}"
done
row multiscale_0 "${before[@]}" head.harmonics=0 encoder=none "${energy[@]}"
row multiscale_free "${before[@]}" head.harmonics=0 encoder.free_bits=0 "${energy[@]}"
