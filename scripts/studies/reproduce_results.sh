#!/usr/bin/env bash
# The numbers of docs/notebook/2026-11-caloman.md and of docs/results.md: DATA is a folder with {ds1_photons,ds2}_{train,reference}.hdf5.
#   scripts/studies/reproduce_results.sh DATA [photons] [ds2] [memory] [ds3]
set -euo pipefail

data=$1
shift
out=${OUT:-outputs/results}
steps=${*:-photons ds2 memory ds3}
peak() { /usr/bin/time -f "peak memory %M KiB, %e s: $*" "$@"; }

files() { echo "dataset.train=[$data/$1_train.hdf5] dataset.reference=[$data/$1_reference.hdf5]"; }

for step in $steps; do
  case $step in
    photons)
      # shellcheck disable=SC2046
      caloman train experiment=caloman_photons $(files ds1_photons) output="$out/photons"
      caloman sample run="$out/photons" energies="$data/ds1_photons_reference.hdf5" overwrite=true
      caloman evaluate run="$out/photons" evaluation=classifier evaluation.classifier.preset=small \
        evaluation.classifier.modes=[low,high]
      caloman evaluate run="$out/photons" evaluation=histograms
      caloman evaluate run="$out/photons" evaluation=timing
      ;;
    ds2)
      # shellcheck disable=SC2046
      caloman train experiment=caloman_ds2 $(files ds2) output="$out/ds2"
      caloman sample run="$out/ds2" energies="$data/ds2_reference.hdf5" overwrite=true
      caloman evaluate run="$out/ds2" evaluation=classifier evaluation.classifier.preset=small \
        evaluation.classifier.modes=[low,high]
      caloman evaluate run="$out/ds2" evaluation=histograms
      ;;
    memory)
      caloman data generate dataset=builtin_photons n=200000 seed=3 out="$out/photons_200k.hdf5" overwrite=true
      peak caloman sample run="$out/photons" energies="$out/photons_200k.hdf5" \
        out="$out/photons_200k_generated.hdf5" overwrite=true
      peak caloman evaluate generated="$out/photons_200k_generated.hdf5" dataset=ds1_photons \
        reference="$out/photons_200k.hdf5" evaluation=histograms output="$out/photons_200k"
      caloman data generate dataset=builtin_ds2 n=20000 seed=3 out="$out/ds2_20k.hdf5" overwrite=true
      peak caloman sample run="$out/ds2" energies="$out/ds2_20k.hdf5" \
        out="$out/ds2_20k_generated.hdf5" overwrite=true
      peak caloman evaluate generated="$out/ds2_20k_generated.hdf5" dataset=ds2 \
        reference="$out/ds2_20k.hdf5" evaluation=histograms output="$out/ds2_20k"
      ;;
    ds3)
      caloman data generate dataset=builtin_ds3 n=20000 seed=3 out="$out/ds3_20k.hdf5" overwrite=true
      caloman data generate dataset=builtin_ds3 n=20000 seed=4 out="$out/ds3_20k_reference.hdf5" overwrite=true
      peak caloman train experiment=caloman_ds3 dataset.train=["$out/ds3_20k.hdf5"] \
        dataset.reference=["$out/ds3_20k_reference.hdf5"] output="$out/ds3" \
        trainer.energy.epochs=2 trainer.encoder.epochs=1 trainer.density.epochs=2
      peak caloman sample run="$out/ds3" energies="$out/ds3_20k_reference.hdf5" overwrite=true
      peak caloman evaluate run="$out/ds3" evaluation=histograms evaluation.separation.plots=none
      ;;
    *)
      echo "unknown step '$step': photons, ds2, memory or ds3" >&2
      exit 2
      ;;
  esac
done
