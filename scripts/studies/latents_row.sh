# A row of a table of what latents are worth; sourced by scripts that are given TRAIN.hdf5 [ROW ...]. A fifth of one file judges and is not learned from.
#   row NAME SETTING...     trains OUT/NAME, the settings of "model" first, and judges it by what stands in "judges"
#   AUGMENT= row NAME ...   the same without turning showers at random: of encoders that cannot, or in one orientation

# What halvings knew when most rows were trained: shares alone, and nothing before the first step.
before=(head.counted=false head.energies=false head.gain=1 head.local=16)

train=$1
shift
wanted=" $* "

row() {
  local name=$1
  shift
  [[ $wanted == "  " || $wanted == *" $name "* ]] || return 0
  caloman train "${model[@]}" dataset.train=["$train"] dataset.reference=["$train"] \
    output="$out/$name" dataset.validation_fraction=0.2 ${AUGMENT-encoder.augment=true} calibration=none "$@"
  [[ -f $out/validation.hdf5 ]] || python scripts/studies/split_file.py "$out/$name" "$train" "$out"
  caloman evaluate run="$out/$name" reference="$out/validation.hdf5" truth="$out/train.hdf5" evaluation=only "${judges[@]}" \
    evaluation.classifier.preset=small evaluation.classifier.modes=[low,high,trees] overwrite=true
}
