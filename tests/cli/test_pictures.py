"""Metrics that are numbers have pictures, too, in the formats and with the names asked for."""

import pytest

NAMED = (
    "figures.format=[svg]", "figures.labels.model=our model",
    "figures.labels.reference=beam", "figures.labels.truth=other runs",
)  # fmt: skip
LESS = (
    "evaluation.quality.n_subsets=5", "evaluation.sliced.permutations=5",
    "evaluation.intrinsic_dimension.k=[5]", "evaluation.distances.kpd=false",
    "evaluation.intrinsic_dimension.by_energy=false",
    "evaluation.intrinsic_dimension.pca_k=30", "evaluation.neighbours.corrected=false",
)  # fmt: skip
NAMES = {
    "memorisation": ("our model", "beam, held out"),
    "intrinsic_dimension": ("our model", "beam"),
    **dict.fromkeys(("quality", "distances", "neighbours", "sliced"), ("our model", "other runs")),
}


@pytest.mark.slow
def test_each_metric_has_a_picture(caloman, tmp_path, on_files, files):
    result = caloman(
        "evaluate", *on_files, f"train={files['truth']}", "evaluation=only",
        f"metric=[{','.join(NAMES)}]", *LESS, *NAMED, "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    plots = tmp_path / "out/plots"
    assert {path.name for path in plots.iterdir()} == {
        f"{stem}.{kind}" for stem in NAMES for kind in ("png", "svg")
    }
    for stem, names in NAMES.items():
        text = (plots / f"{stem}.svg").read_text()
        assert all(name in text for name in names), stem


@pytest.mark.slow
def test_pictures_of_latents_name_the_model(caloman, tmp_path, denoising_run):
    few = ("evaluation.lid.times=3", "evaluation.lid.draws=2", "evaluation.lid.max_showers=50")
    result = caloman(
        "evaluate", f"run={denoising_run}", "evaluation=only", "output=out",
        "metric=[lid,manifold_memorisation,manifold,likelihood,ood,ledger]", *few, *NAMED,
        "evaluation.manifold_memorisation.max_showers=150", "evaluation.manifold.max_showers=60",
        "evaluation.likelihood.draws=2", "evaluation.likelihood.max_showers=40",
        "evaluation.ood.sets=[swapped]", "evaluation.ood.draws=1", "evaluation.ood.max_showers=40",
        "evaluation.ledger.judges=[high]", "evaluation.ledger.max_showers=200",
    )  # fmt: skip
    assert result.status == 0, result.err
    for stem in ("lid", "manifold_memorisation", "manifold", "likelihood", "ood", "ledger"):
        text = (tmp_path / f"out/plots/{stem}.svg").read_text()
        assert "our model" in text and "beam" in text, stem


def test_the_picture_of_posteriors_names_everybody(caloman, tmp_path, on_files, files):
    rival = tmp_path / "theirs.hdf5"
    rival.write_bytes(files["generated"].read_bytes())
    result = caloman(
        "evaluate", *on_files, "evaluation=multiclass", "evaluation.multiclass.mode=high",
        f"evaluation.multiclass.others=[{rival}]", "evaluation.multiclass.units=8",
        "evaluation.multiclass.epochs=1", *NAMED, "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    text = (tmp_path / "out/plots/multiclass.svg").read_text()
    names = ("our model  1", "theirs  2", "other runs  3", "mean log-posterior, beam")
    assert all(name in text for name in names)
    assert "generated" not in text and "independent" not in text
