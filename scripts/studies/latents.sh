#!/usr/bin/env bash
# What latents are worth to a head that draws layers apart: the table of docs/results.md. A fifth of one file judges and is not learned from.
#   scripts/studies/latents.sh TRAIN.hdf5 [ROW ...]
set -euo pipefail

train=$1
shift
wanted=" $* "
out=${OUT:-outputs/latents}
mkdir -p "$out"

row() {
  local name=$1
  shift
  [[ $wanted == "  " || $wanted == *" $name "* ]] || return 0
  caloman train experiment=flagship_photons dataset.train=["$train"] dataset.reference=["$train"] \
    output="$out/$name" dataset.validation_fraction=0.2 encoder.augment=true calibration=none \
    trainer.energy.epochs=8 trainer.encoder.epochs=15 trainer.density.epochs=15 head=multiscale "$@"
  [[ -f $out/validation.hdf5 ]] || python scripts/studies/split_file.py "$out/$name" "$train" "$out"
  caloman evaluate run="$out/$name" reference="$out/validation.hdf5" truth="$out/train.hdf5" evaluation=only \
    metric=[classifier] evaluation.classifier.preset=small evaluation.classifier.modes=[low,high,trees] overwrite=true
}

row none head.harmonics=0 encoder=none
row learned head.harmonics=0
row learned_16 head.harmonics=0 encoder.latent_dim=16 encoder.free_bits=1.5
row harmonics
row harmonics_alone encoder=none
