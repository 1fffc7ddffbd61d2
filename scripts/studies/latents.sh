#!/usr/bin/env bash
# What latents are worth to a head that draws layers apart, and what its density is: tables of docs/results.md. A fifth of one file judges and is not learned from.
#   scripts/studies/latents.sh TRAIN.hdf5 [ROW ...]
set -euo pipefail

out=${OUT:-outputs/latents}
epochs=15
model=(experiment=flagship1_photons head=multiscale trainer.energy.epochs=8)
model+=(trainer.encoder.epochs="$epochs" trainer.density.epochs="$epochs")
judges=(metric=[classifier])
mkdir -p "$out"
source "$(dirname "$0")/latents_row.sh"

row none "${before[@]}" head.harmonics=0 encoder=none
row learned "${before[@]}" head.harmonics=0
row learned_16 "${before[@]}" head.harmonics=0 encoder.latent_dim=16 encoder.free_bits=1.5
# Encoders whose latents cannot idle.
row delta "${before[@]}" head.harmonics=0 encoder.free_bits=0 encoder.delta=1
AUGMENT= row wae "${before[@]}" head.harmonics=0 encoder=wae encoder.latent_dim=10
AUGMENT= row rae "${before[@]}" head.harmonics=0 encoder=rae encoder.latent_dim=10
AUGMENT= row codes "${before[@]}" head.harmonics=0 encoder=vqvae encoder.latent_dim=16 encoder.n_codes=16 density=ar_codes
row harmonics "${before[@]}" head.centres=false
AUGMENT= row canonical "${before[@]}" head.centres=false preprocess.orientation=canonical
row harmonics_alone "${before[@]}" head.centres=false encoder=none
# Heads that draw all voxels at once: independent, or correlated by a few factors; or half of them, then the others.
row parallel head=hurdle_mixture
row copula head=hurdle_mixture_copula
row refined head=hurdle_mixture_refined
# A second level: latents of each layer, drawn layer after layer; by one flow of all; with fewer nats that are free; and harmonics beside them.
levels=(encoder.layer_latents=2 trainer.density.epochs=40)
row levels "${before[@]}" head.harmonics=0 "${levels[@]}" density=levels
row levels_flat reuse="$out/levels" "${before[@]}" head.harmonics=0 "${levels[@]}" density=nsf_wide
row levels_free "${before[@]}" head.harmonics=0 "${levels[@]}" density=levels encoder.layer_free_bits=0.3
row levels_harmonics "${before[@]}" head.centres=false "${levels[@]}" density=levels
# The same first steps, other densities.
row longer reuse="$out/harmonics" "${before[@]}" head.centres=false trainer.density.epochs=60
row wider reuse="$out/harmonics" "${before[@]}" head.centres=false trainer.density.epochs=40 density.hidden=128 density.n_layers=6
row nsf_wide reuse="$out/harmonics" "${before[@]}" head.centres=false trainer.density.epochs=40 density=nsf_wide
# With centres, as the second edition has them; and layers that see each other.
row centres "${before[@]}" trainer.density.epochs=40 density=nsf_wide
# The same in one orientation.
AUGMENT= row canonical_centres "${before[@]}" preprocess.orientation=canonical trainer.density.epochs=40 density=nsf_wide
row sight "${before[@]}" trainer.density.epochs=40 density=nsf_wide head.sight=1
# Halvings that know energies, and begin with what was counted by them.
row energies trainer.density.epochs=40 density=nsf_wide head.gain=1 head.local=16 head.counted=false
row counted trainer.density.epochs=40 density=nsf_wide
row none_counted head.harmonics=0 encoder=none
