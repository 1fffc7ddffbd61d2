#!/usr/bin/env bash
# The numbers of docs/flagship.md: DATA is a folder with {ds1_photons,ds2}_{train,reference}.hdf5.
#   scripts/flagship.sh DATA photons|ds2|pions [SEED ...] [-- OVERRIDE ...]
# pions are built-in showers, made here. Trains, draws at the reference's energies and scores, once per seed.
set -euo pipefail

data=$1
which=$2
shift 2
seeds=()
while [[ $# -gt 0 && $1 != -- ]]; do
  seeds+=("$1")
  shift
done
[[ $# -gt 0 ]] && shift
out=${OUT:-outputs/flagship}
mkdir -p "$out"

name=ds1_$which
[[ $which == ds2 ]] && name=ds2
if [[ $which == pions ]]; then
  data=$out/data
  for part in train:11 reference:12; do
    file=$data/${name}_${part%:*}.hdf5
    [[ -f $file ]] || caloman data generate dataset=builtin_pions n=20000 seed="${part#*:}" out="$file"
  done
fi

for seed in "${seeds[@]:-1}"; do
  run=$out/${which}_$seed
  caloman train experiment="flagship_$which" dataset.train=["$data/${name}_train.hdf5"] \
    dataset.reference=["$data/${name}_reference.hdf5"] seed="$seed" output="$run" "$@"
  caloman evaluate run="$run" seed="$seed" evaluation=small
done
python scripts/seeds_table.py "$out/${which}"_[0-9]*
