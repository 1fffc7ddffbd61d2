#!/usr/bin/env bash
# What latents are worth where layers are many, on dataset 2's mesh: a table of docs/results.md. A fifth of one file judges and is not learned from.
#   scripts/studies/latents_long.sh TRAIN.hdf5 [ROW ...]
set -euo pipefail

out=${OUT:-outputs/latents_long}
model=(experiment=flagship1_ds2 head=multiscale_long trainer.energy.epochs=4 trainer.encoder.epochs=6 trainer.density.epochs=10)
judges=(metric=[classifier])
mkdir -p "$out"
source "$(dirname "$0")/latents_row.sh"

before+=(head.paired=false head.reach=0)

row turns "${before[@]}" head.harmonics=0
row harmonics "${before[@]}" head.centres=false
# A second level: latents of each layer, drawn layer after layer; with fewer nats that are free; and harmonics beside them.
levels=(encoder.layer_latents=2 density=levels trainer.density.epochs=40 trainer.density.batch_size=128)
row levels "${before[@]}" head.harmonics=0 "${levels[@]}"
row levels_free "${before[@]}" head.harmonics=0 "${levels[@]}" encoder.layer_free_bits=0.1
row levels_harmonics "${before[@]}" head.centres=false "${levels[@]}"
# The second edition, and wider networks of what is next to patches.
row nsf_wide "${before[@]}" density=nsf_wide trainer.density.epochs=40 trainer.density.batch_size=128 head.centres=false
row local "${before[@]}" density=nsf_wide trainer.density.epochs=40 trainer.density.batch_size=128 head.centres=false head.local=32
row wider reuse="$out/harmonics" "${before[@]}" head.centres=false trainer.density.epochs=40 trainer.density.batch_size=128 density.hidden=128 density.n_layers=6
