#!/usr/bin/env bash
# The numbers of docs/results.md and, with EDITION=1, of docs/notebook/2026-11-flagship.md: DATA is a folder with {ds1_photons,ds2,...}_{train,reference}.hdf5, or the word
# builtin: showers of the built-in generator, made here.
#   scripts/studies/flagship.sh DATA|builtin photons|pions|ds2|ds3 [SEED ...] [-- OVERRIDE ...]
# Trains, draws at the reference's energies and scores, once per seed.
set -euo pipefail

data=$1
which=$2
shift 2
[[ " photons pions ds2 ds3 " == *" $which "* ]] || {
  echo "flagship.sh: $which is none of photons, pions, ds2, ds3" >&2
  exit 2
}
seeds=()
while [[ $# -gt 0 && $1 != -- ]]; do
  seeds+=("$1")
  shift
done
[[ $# -gt 0 ]] && shift
out=${OUT:-outputs/flagship}
mkdir -p "$out"

name=$which
[[ $which == photons || $which == pions ]] && name=ds1_$which
runs=$out/$which
if [[ $data == builtin ]]; then
  data=$out/data
  runs=$out/builtin_$which
  declare -A showers=([photons]=20000 [pions]=20000 [ds2]=6000 [ds3]=2000)
  for part in train:11 reference:12; do
    file=$data/${name}_${part%:*}.hdf5
    [[ -f $file ]] ||
      caloman data generate dataset="builtin_$which" n="${showers[$which]}" seed="${part#*:}" out="$file"
  done
fi

for seed in "${seeds[@]:-1}"; do
  run=${runs}_$seed
  caloman train experiment="flagship${EDITION:-}_$which" dataset.train=["$data/${name}_train.hdf5"] \
    dataset.reference=["$data/${name}_reference.hdf5"] seed="$seed" output="$run" "$@"
  caloman evaluate run="$run" seed="$seed" evaluation=small
done
caloman report runs="${runs}_[0-9]*" suite=small by=seed output="${runs}_report"
