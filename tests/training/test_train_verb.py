"""``caloman train`` on a tiny detector: every stage, its hand-offs, and what it leaves."""

import re
import signal
from functools import partial

import h5py
import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.config.compose import CONF
from caloman_cli.data.files import read_json
from caloman_cli.data.sources import Dataset
from caloman_cli.errors import UserError
from caloman_cli.models.calibrations import voxel_spectrum as calibration
from caloman_cli.models.encoders.no_latents import NoLatents
from caloman_cli.models.encoders.posterior import GaussianPosterior
from caloman_cli.models.encoders.vae import VAE
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model
from caloman_cli.training.interruption import Preempted
from caloman_cli.training.rows import ShowerRows, VoxelStore
from caloman_cli.training.trainer import Trainer
from caloman_cli.verbs.train import dry_run, run

N = 90
SMALL = [
    "density=nsf",
    "density.n_layers=1",
    "density.hidden=8",
    "density.n_blocks=1",
    "energy.n_layers=1",
    "energy.hidden=8",
    "energy.n_blocks=1",
    "energy.mask_hidden=8",
    "encoder.latent_dim=3",
    "encoder.hidden=[16]",
    *(f"trainer.{stage}.{key}" for stage in ("energy", "encoder", "density")
      for key in ("epochs=2", "batch_size=32", "warmup=0")),
]  # fmt: skip


def write_showers(folder, geometry, seed=0):
    """Showers of the tiny detector in two files."""
    rng = np.random.default_rng(seed)
    for name in ("train", "reference"):
        energies = 10 ** rng.uniform(3, 5, (N, 1))
        voxels = energies * rng.dirichlet(np.ones(geometry.n_voxels), N) * 0.8
        with h5py.File(folder / f"{name}.hdf5", "w") as file:
            file["incident_energies"], file["showers"] = energies, voxels


def compose(folder, geometry, *overrides, small=SMALL, output="run"):
    """The config of ``caloman train`` for the tiny detector."""
    everything = [
        "recipe=none",
        *small,
        f"output={folder / output}",
        f"cache_dir={folder / 'cache'}",
    ]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", [*everything, "device=cpu", *overrides])
    cfg.dataset = OmegaConf.create(
        {
            "name": "tiny",
            "geometry": geometry.to_dict(),
            "train": [str(folder / "train.hdf5")],
            "reference": [str(folder / "reference.hdf5")],
            "files": None,
            "builtin": None,
            "validation_fraction": 0.2,
            "geometry_xml": None,
            "limit": None,
        }
    )
    return cfg


@pytest.fixture
def files(tmp_path, tiny_geometry):
    write_showers(tmp_path, tiny_geometry)
    return tmp_path


@pytest.fixture
def config(files, tiny_geometry):
    return partial(compose, files, tiny_geometry)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_geometry):
    """A run that nobody has disturbed, trained without a reference."""
    folder = tmp_path_factory.mktemp("whole")
    write_showers(folder, tiny_geometry)
    (folder / "reference.hdf5").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dataset, "reference", None)
        return run(compose(folder, tiny_geometry))


def weights(path):
    return load_model(path / "model.pt")[0].state_dict()


def test_a_run_leaves_everything_that_is_promised(whole):
    path = whole
    names = {entry.name for entry in path.iterdir()}
    assert names == {
        *("config.yaml", "provenance.json", "status.json", "train.log", "history.jsonl"),
        "training.png",
        *("split.npz", "preprocess.pt", "latents.h5", "model.pt", ".lock"),
        *("energy", "encoder", "density", "calibration"),
    }
    assert {entry.name for entry in (path / "calibration").iterdir()} == {"best.pt", "done.json"}
    for stage in ("energy", "encoder", "density"):
        files = {entry.name for entry in (path / stage).iterdir()}
        assert files == {"last.pt", "best.pt", "done.json"}
    found = read_json(path / "provenance.json")
    assert found["data"]["n"] == N
    assert found["data"]["n_validation"] == 18
    assert found["data"]["fingerprint"]
    for stage in ("energy", "encoder", "density"):
        cost = found["stages"][stage]
        assert cost["seconds"] > 0
        assert cost["memory"]["peak_rss_mib"] > 1
        assert cost["parameters"] > 0
        assert cost["best_epoch"] in (1, 2)
    assert "encoder: 2 epochs" in (path / "train.log").read_text()
    assert read_json(path / "status.json")["status"] == "ok"
    with np.load(path / "split.npz") as split:
        both = np.concatenate([split["train"], split["validation"]])
    assert sorted(both) == list(range(N))


def test_a_run_learns_from_as_few_showers_as_asked(config, whole):
    cfg = config(output="few")
    cfg.dataset.limit = 50
    path = run(cfg)
    found = read_json(path / "provenance.json")["data"]
    assert (found["n"], found["n_train"], found["n_validation"]) == (50, 40, 10)
    assert found["fingerprint"] != read_json(whole / "provenance.json")["data"]["fingerprint"]
    cfg.dataset.limit = 60
    with pytest.raises(UserError, match="dataset.limit: 50 -> 60"):
        run(cfg)


def test_a_calibration_is_measured_after_the_last_stage(whole, config, monkeypatch):
    monkeypatch.setattr(calibration, "_VOXELS_PER_LEVEL", 20)  # there are few showers
    choices = ["calibration=voxel_spectrum", "calibration.least_lit=0"]
    path = run(config(*choices, output="calibrated"))
    found, plain = weights(path), weights(whole)
    assert found["calibration.active"].any()
    assert found["calibration.shift"].any()
    assert all(torch.equal(value, plain[key]) for key, value in found.items() if key in plain)
    assert "calibration: voxels of" in (path / "train.log").read_text()
    (path / "model.pt").unlink()  # stopped before the end
    again = weights(run(config(*choices, output="calibrated")))
    assert torch.equal(again["calibration.shift"], found["calibration.shift"])


def test_the_model_file_generates_showers(whole):
    model, stored = load_model(whole / "model.pt")
    e_inc = torch.full((5, 1), 2.0e4)
    voxels = model.sample(e_inc, Noise(1, 0, 5))
    assert voxels.shape == (5, model.geometry.n_voxels)
    assert (voxels >= 0).all()
    assert torch.isfinite(voxels).all()
    assert stored["seed"] == 1


def test_the_model_knows_the_energies_of_its_training_split(whole):
    with h5py.File(whole.parent / "train.hdf5") as file, np.load(whole / "split.npz") as split:
        learned = file["incident_energies"][:][split["train"]]
        others = file["incident_energies"][:][split["validation"]]
    spectrum = load_model(whole / "model.pt")[0].spectrum
    assert (spectrum.energies[0], spectrum.energies[-1]) == (learned.min(), learned.max())
    np.testing.assert_allclose(spectrum.energies, np.sort(learned[:, 0]))  # no more than quantiles
    assert not np.isclose(others, np.array(spectrum.energies)).any()


def test_the_reference_is_never_opened(config, monkeypatch):
    def opened(self):
        raise AssertionError("train opened the reference")

    cfg = config("encoder.latent_dim=auto", "trainer.latents=mean")
    cfg.dataset.reference = ["/there/is/no/such/file.hdf5"]
    monkeypatch.setattr(Dataset, "reference", opened)
    path = run(cfg)
    assert (path / "model.pt").exists()
    # A number has taken the place of `auto`, and the same command finds its run.
    assert 1 <= OmegaConf.load(path / "config.yaml").encoder.latent_dim <= 12
    (path / "model.pt").unlink()
    assert run(cfg) == path
    assert load_model(path / "model.pt")[1]["encoder"]["latent_dim"] >= 1


@pytest.mark.parametrize(("stage", "at"), [("energy", 2), ("encoder", 4), ("density", 5)])
def test_a_preempted_run_goes_on_to_the_same_model(config, files, whole, preempt, stage, at):
    cfg, cut = config(), files / "run"
    with preempt(stage, at), pytest.raises(Preempted):
        run(cfg)
    assert read_json(cut / "status.json")["status"] == "interrupted"
    assert f"output={cut} goes on" in (cut / "train.log").read_text()
    assert not (cut / "model.pt").exists()
    run(cfg)
    resumed = weights(cut)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed[name]), name


def test_a_complete_run_is_not_touched(whole, tiny_geometry, monkeypatch):
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("*.pt")}
    monkeypatch.setattr(Trainer, "fit", None)
    assert run(compose(whole.parent, tiny_geometry)) == whole
    assert {file: file.stat().st_mtime_ns for file in whole.rglob("*.pt")} == before


def test_a_run_of_before_a_key_came_is_complete_all_the_same(whole, tiny_geometry, monkeypatch):
    """After an upgrade a finished run, and every job of a sweep, is asked for again."""
    path, text = whole / "config.yaml", (whole / "config.yaml").read_text()
    older = OmegaConf.load(path)
    for group, key in (
        ("encoder", "augment"),
        ("preprocess", "orientation"),
        ("trainer", "tf32"),
        (None, "calibration"),
    ):
        (older if group is None else older[group]).pop(key)
    monkeypatch.setattr(Trainer, "fit", None)
    try:
        path.write_text(OmegaConf.to_yaml(older))
        assert run(compose(whole.parent, tiny_geometry)) == whole
        with pytest.raises(UserError, match="encoder.augment: None -> True"):
            run(compose(whole.parent, tiny_geometry, "encoder.augment=true"))
        with pytest.raises(UserError, match="preprocess.orientation: None -> canonical"):
            run(compose(whole.parent, tiny_geometry, "preprocess.orientation=canonical"))
    finally:
        path.write_text(text)


def test_auto_needs_a_run_that_was_auto(whole, tiny_geometry):
    with pytest.raises(UserError, match="encoder.latent_dim: 3 -> auto"):
        run(compose(whole.parent, tiny_geometry, "encoder.latent_dim=auto"))


def test_other_settings_need_another_directory(whole, tiny_geometry):
    with pytest.raises(UserError, match=r"encoder.beta: 1.0 -> 0.5"):
        run(compose(whole.parent, tiny_geometry, "encoder.beta=0.5"))


def test_other_showers_under_the_same_name(config, files, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", stop)
        with pytest.raises(Preempted):
            run(config())
    with h5py.File(files / "train.hdf5", "r+") as file:
        file["showers"][0] *= 0.5
    with pytest.raises(UserError, match="began with other showers"):
        run(config())


def stop(*_):
    raise Preempted(signal.SIGTERM)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.energy.precision=bfloat16", "likelihoods need float32"),
        ("trainer.density.epochs=1 trainer.density.warmup=1", "warmup=0 with it"),
        ("trainer.latents=mean head=autoregressive_dipoles", "use trainer.latents=sample"),
        ("trainer.latents=median", "trainer.latents=median: must be sample, mean"),
        ("trainer.encoder.optimizer=sgd", "trainer.encoder.optimizer=sgd: must be adam, adamw"),
        ("encoder.latent_dim=0", "latent_dim"),
        ("device=cuda", "no CUDA device"),
    ],
)
def test_mistakes_are_found_before_a_directory_exists(config, files, override, message):
    if override == "device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match=message):
        run(config(*override.split()))
    assert not (files / "run").exists()


def test_identity_and_standard_normal_need_no_training(config, caplog):
    overrides = ["encoder=identity", "density=standard_normal", "preprocess=logit_shares"]
    small = [item for item in SMALL if not item.startswith(("encoder.", "density"))]
    path = run(config(*overrides, small=small))
    found = read_json(path / "provenance.json")["stages"]
    assert found["encoder"]["parameters"] == found["density"]["parameters"] == 0
    (said,) = (line for line in caplog.messages if line.startswith("density: "))
    assert re.fullmatch(r"density: fitted in one go in \d+\.\d s, loss -?\d\S*", said)


def test_the_density_learns_from_the_training_split(config, monkeypatch):
    """Its validation split would be a leak: the same showers that stop the training."""
    seen, fit = {}, Trainer.fit

    def watched(self, stage, model, train, validation):
        seen[stage] = train, validation
        return fit(self, stage, model, train, validation)

    monkeypatch.setattr(Trainer, "fit", watched)
    path = run(config())
    with np.load(path / "split.npz") as split, h5py.File(path / "latents.h5") as file:
        parts = [np.sort(split[name]) for name in ("train", "validation")]
        np.testing.assert_array_equal(np.flatnonzero(file["train"][:]), parts[0])
        conditions = file["condition"][:]
    for rows, part in zip(seen["density"], parts, strict=True):
        np.testing.assert_array_equal(rows.condition, conditions[part])
    energies = {stage: [rows.rows(np.arange(len(rows)))[1] for rows in seen[stage]]
                for stage in ("energy", "encoder", "density")}  # fmt: skip
    assert [len(rows) for rows in energies["energy"]] == [72, 18]
    for got, wanted in zip(energies["encoder"], energies["density"], strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.fixture
def idle(monkeypatch):
    """Latents of a variational autoencoder say nothing."""

    def nothing(self, x, c):
        zeros = torch.zeros(len(x), self.latent_dim) + 0 * self.encoder[0].weight.sum()
        return GaussianPosterior(zeros, torch.ones_like(zeros))

    monkeypatch.setattr(VAE, "_posterior", nothing)
    monkeypatch.setattr(VAE, "named_parameters", lambda self, *_, **__: [])
    monkeypatch.setattr(VAE, "parameters", lambda self, *_, **__: iter([]))


def test_a_collapsed_encoder_is_a_warning_with_what_to_do(config, idle, caplog):
    with caplog.at_level("WARNING"):
        path = run(config())
    (said,) = [row for row in caplog.records if "collapsed" in row.message]
    assert said.levelname == "WARNING"
    assert "0 of 3 latents are active" in said.message
    assert "encoder.free_bits=0.3" in said.message
    kept = read_json(path / "provenance.json")["stages"]["encoder"]
    assert (kept["latents"], kept["active_latents"]) == (3, 0)
    assert read_json(path / "encoder/done.json")["active_latents"] == 0


def test_that_no_latents_are_meant_is_no_warning(config, idle, monkeypatch, caplog):
    monkeypatch.setattr(VAE, "remedy", NoLatents.remedy)
    with caplog.at_level("INFO"):
        run(config())
    assert "no learned latents, as is meant" in caplog.messages
    assert not any("collapsed" in message for message in caplog.messages)


def test_how_many_latents_are_active_is_kept(whole):
    kept = read_json(whole / "provenance.json")["stages"]["encoder"]
    assert kept["latents"] == 3
    assert 0 <= kept["active_latents"] <= 3
    assert "diffusability" not in kept  # of too few showers


def test_latents_of_layers_are_counted_beside(config, caplog):
    """They are the last six of nine; the density of both is in the model file."""
    levels = ["encoder.layer_latents=2", "encoder.free_bits=3", "encoder.layer_free_bits=0"]
    density = ["density=levels", "density.part.n_layers=1", "density.hidden=8"]
    small = [setting for setting in SMALL if not setting.startswith("density")]
    with caplog.at_level("INFO"):
        path = run(config(*levels, *density, small=small))
    kept = read_json(path / "provenance.json")["stages"]["encoder"]
    with h5py.File(path / "latents.h5") as file:
        used = file["mean"][:].reshape(-1, 9).var(0) > 0.01
    assert kept["latents"] == 9
    assert kept["active_latents"] == used.sum()
    assert kept["active_layer_latents"] == used[3:].sum()
    said = f"{used.sum()} of 9 latents are active, {used[3:].sum()} of the 6 of layers"
    assert said in caplog.messages
    model, _ = load_model(path / "model.pt")
    assert torch.isfinite(model.sample(torch.full((5, 1), 1e4), Noise(0, 0, 5))).all()


def test_showers_that_are_all_the_same_are_refused(config, files):
    with h5py.File(files / "train.hdf5", "r+") as file:
        for name in ("showers", "incident_energies"):
            file[name][:] = file[name][:1].repeat(N, 0)
    with pytest.raises(UserError, match="all 90 showers are the same.*give showers that differ"):
        run(config())
    assert not (files / "run").exists()


@pytest.mark.parametrize("verb", [run, dry_run])
@pytest.mark.parametrize(
    ("turned", "dim", "instead"),
    [
        ("encoder.augment=true", 0.3, "encoder.augment=false"),
        ("preprocess.orientation=canonical", 0.3, "preprocess.orientation=none"),
        ("encoder.augment=true", 1, None),
        ("encoder.augment=false", 0.3, None),
    ],
)
def test_turning_what_is_not_symmetric_is_warned_of(
    config, files, tiny_geometry, caplog, verb, turned, dim, instead
):
    rng = np.random.default_rng(1)
    with h5py.File(files / "train.hdf5", "r+") as file:
        del file["showers"], file["incident_energies"]
        voxels = 1e3 * rng.dirichlet(np.ones(tiny_geometry.n_voxels), 200)
        voxels[:, tiny_geometry.slices[1]][:, :2] *= dim  # one of four slices
        file["showers"], file["incident_energies"] = voxels, np.full((200, 1), 2e3)
    verb(config("encoder=vae", turned))
    said = [message for message in caplog.messages if "not symmetric" in message]
    assert len(said) == (instead is not None)
    if said:
        assert f"{turned} turns and mirrors showers, but layer 1 is not symmetric" in said[0]
        assert "about the axis: slices hold 0." in said[0]
        assert said[0].endswith(f"give {instead}")


def test_two_showers_are_said_to_be_few(config, files, caplog):
    with h5py.File(files / "train.hdf5", "r+") as file:
        kept = {name: file[name][:4] for name in ("showers", "incident_energies")}
        for name, values in kept.items():
            del file[name]
            file[name] = values
    run(config())
    assert "train: 4 showers are enough to see that everything works" in caplog.text


def test_rows_of_a_mapped_file(tmp_path):
    voxels = np.random.default_rng(0).random((30, 4), np.float32)
    np.save(tmp_path / "v.npy", voxels)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    store = VoxelStore(mapped, np.arange(30.0)[:, None], torch.device("cpu"))
    rows = ShowerRows(store, np.arange(0, 30, 3))
    x, e = rows.rows(np.array([9, 0, 3]))
    np.testing.assert_array_equal(x, voxels[[27, 0, 9]])
    assert e[:, 0].tolist() == [27.0, 0.0, 9.0]
