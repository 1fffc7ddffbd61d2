#!/usr/bin/env bash
# The ladder of docs/notebook/2026-11-flagship.md: one override per step, four epochs each, scored on the validation split.
#   scripts/studies/ladder.sh TRAIN.hdf5 [ROW ...]
set -euo pipefail

train=$1
shift
wanted=" $* "
out=${OUT:-outputs/ladder}
mkdir -p "$out"

row() {
  local name=$1
  shift
  [[ $wanted == "  " || $wanted == *" $name "* ]] || return 0
  caloman train experiment=flagship1_photons dataset.train=["$train"] dataset.reference=["$train"] \
    output="$out/$name" dataset.validation_fraction=0.2 \
    trainer.energy.epochs=8 trainer.encoder.epochs=4 trainer.density.epochs=8 "$@"
  [[ -f $out/validation.hdf5 ]] || python scripts/studies/split_file.py "$out/$name" "$train" "$out"
  caloman evaluate run="$out/$name" reference="$out/validation.hdf5" truth="$out/train.hdf5" evaluation=small \
    evaluation.correlation=null evaluation.neighbours=null evaluation.separation.plots=none
}

plain="encoder.free_bits=0 calibration=none"
# shellcheck disable=SC2086
{
  row mean $plain head=gaussian
  row independent_1 $plain head=hurdle_mixture head.components=1
  row independent_3 $plain head=hurdle_mixture
  row independent_3_free_bits $plain head=hurdle_mixture encoder.free_bits=0.3
  row layer $plain head=autoregressive head.order=layer
  row ring $plain head=autoregressive head.order=ring
  row half_ring $plain head=autoregressive
  row half_ring_beta $plain head=autoregressive encoder.beta=0.3
  row half_ring_wide $plain head=autoregressive encoder.latent_dim=32
  row half_ring_a_nat head=autoregressive calibration=none
  row half_ring_dipoles calibration=none head.state=128
  row half_ring_calibrated head.state=128
  row half_ring_augmented head.state=128 encoder.augment=true
}
caloman report runs="$out/*" suite=small output="$out/report"
