"""The two-step model as a whole."""

import inspect
import json
import re

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.data.spectrum import Spectrum
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import TwoStep, build, load_model, save_model
from tests.conftest import ROOT

GROUPS = {
    "preprocess": "shares",
    "energy": "nsf",
    "encoder": "vae",
    "head": "gaussian",
    "density": "nsf",
}


def config(**choices):
    """The model groups as composed by the command line, small."""
    cfg = OmegaConf.create(
        {
            group: OmegaConf.load(ROOT / f"conf/{group}/{choices.get(group, option)}.yaml")
            for group, option in GROUPS.items()
        }
    )
    if "latent_dim" in cfg.encoder:
        cfg.encoder.latent_dim = 3
    if "hidden" in cfg.encoder:
        cfg.encoder.hidden = [16]
    return cfg


def showers(geometry, n=400):
    """The first n of one fixed set of showers."""
    generator = torch.Generator().manual_seed(0)
    e_inc = torch.logspace(3, 5, 400)[:n, None]
    uniform = torch.rand(2, 400, geometry.n_voxels, generator=generator)[:, :n]
    voxels = uniform[0].square() * (uniform[1] < 0.7)
    return voxels * e_inc / geometry.n_voxels, e_inc


def prepared(geometry, **choices):
    """A model with measured statistics and random weights: what matters here is the plumbing."""
    model = build(config(**choices), geometry)
    voxels, e_inc = showers(geometry)
    model.preprocess.fit(TensorRows(voxels, e_inc))
    x, c = model.preprocess(voxels, e_inc)
    layers = model.preprocess.context(voxels, e_inc).layers
    model.energy.prepare(TensorRows(layers, e_inc))
    model.encoder.prepare(TensorRows(x, c))
    z = model.encoder.encode(x, c).detach()
    model.density.prepare(TensorRows(z, c))
    return model.eval()


@pytest.mark.parametrize("preprocess", ["shares", "logit_shares"])
@pytest.mark.parametrize("encoder", ["vae", "ae", "pca", "identity"])
def test_generated_layers_sum_to_the_energy_models_draws(tiny_geometry, preprocess, encoder):
    model = prepared(tiny_geometry, preprocess=preprocess, encoder=encoder)
    e_inc = torch.logspace(3, 5, 300)[:, None]
    voxels = model.sample(e_inc, Noise(4, 0, 300))
    drawn = model.energy.sample(e_inc, Noise(4, 0, 300)).detach()
    assert voxels.shape == (300, 12)
    assert voxels.dtype == torch.float32
    assert (drawn == 0).any()  # empty layers are generated
    torch.testing.assert_close(tiny_geometry.layer_energies(voxels), drawn, rtol=1e-4, atol=1e-4)


def test_sampling_cannot_see_true_layer_energies():
    # What comes instead of latents is made of drawn ones.
    names = list(inspect.signature(TwoStep.sample).parameters)
    assert names == ["self", "e_inc", "noise", "instead"]


def test_generated_layer_energies_are_what_density_and_decoder_see(tiny_geometry, monkeypatch):
    model = prepared(tiny_geometry)
    given = torch.rand(50, 3) * 1000 + 1
    monkeypatch.setattr(model.energy, "sample", lambda e_inc, noise: given)
    seen = []
    original = model.density.sample
    monkeypatch.setattr(
        model.density, "sample", lambda c, noise: seen.append(c) or original(c, noise)
    )
    e_inc = torch.full((50, 1), 1e4)
    model.sample(e_inc, Noise(0, 0, 50))
    assert torch.equal(seen[0], model.preprocess.condition(Context(e_inc, given)))


def test_no_rows_are_no_showers_and_shapes_that_do_not_fit_are_said(tiny_geometry):
    model = prepared(tiny_geometry, head="autoregressive")
    voxels = model.sample(torch.zeros(0, 1), Noise(0, 0, 0))
    assert (voxels.shape, voxels.dtype) == ((0, 12), torch.float32)
    for e_inc in (torch.full((3,), 1e3), torch.full((3, 2), 1e3), torch.full((4, 1), 1e3)):
        with pytest.raises(ValueError, match=r"must be \(3, 1\) for noise of 3 rows"):
            model.sample(e_inc, Noise(0, 0, 3))


def test_row_i_belongs_to_energy_i(tiny_geometry):
    model = prepared(tiny_geometry)
    e_inc = torch.tensor([[1e3], [1e5]]).repeat(50, 1)
    total = model.sample(e_inc, Noise(0, 0, 100)).sum(1, keepdim=True)
    assert (total <= tiny_geometry.max_response * e_inc).all()
    assert float(total[1::2].mean()) > 10 * float(total[::2].mean())


@pytest.mark.parametrize("draw", [False, True])
def test_any_batch_size_gives_the_same_showers(tiny_geometry, draw):
    torch.manual_seed(1)
    cfg = config()
    cfg.head.draw = draw
    model = build(cfg, tiny_geometry)
    voxels, e_inc = showers(tiny_geometry)
    model.preprocess.fit(TensorRows(voxels, e_inc))
    model.energy.prepare(TensorRows(model.preprocess.context(voxels, e_inc).layers, e_inc))
    model.eval()
    e_inc = torch.logspace(3, 5, 700)[:, None]
    whole = model.sample(e_inc, Noise(9, 0, 700))
    for size in (1, 100, 256, 300):
        stop = min(700, 3 * size)
        parts = [
            model.sample(e_inc[a : a + size], Noise(9, a, len(e_inc[a : a + size])))
            for a in range(0, stop, size)
        ]
        torch.testing.assert_close(
            torch.cat(parts), whole[: sum(map(len, parts))], rtol=1e-3, atol=1e-2
        )


@pytest.mark.parametrize("head", ["gaussian", "hurdle_mixture", "autoregressive"])
@pytest.mark.parametrize("start", [0, 100])
def test_decoding_in_parts_changes_nothing(tiny_geometry, monkeypatch, head, start):
    model = prepared(tiny_geometry, head=head)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    e_inc = torch.logspace(3, 5, 700)[:, None]
    rows, sample = [], model.encoder.head.sample
    monkeypatch.setattr(
        model.encoder.head, "sample", lambda p, noise: rows.append(noise.n) or sample(p, noise)
    )
    whole = model.sample(e_inc, Noise(9, start, 700))
    assert rows == [700]
    values = 256 * model.encoder.head.footprint
    monkeypatch.setattr("caloman_cli.models.two_step._CACHE_VALUES", values)
    parts = model.sample(e_inc, Noise(9, start, 700))
    assert rows[1:] == [234, 234, 232]  # as few as the memory asks for, all of one size
    different = (parts - whole).abs() > 1e-3 * whole + 1e-2
    # A voxel may be lit or not by the last bit of a matrix product.
    assert float(different.float().mean()) < 1e-3


def test_log_prob_works_with_conditions_and_has_every_term(tiny_geometry):
    """On a manifold: energies, latents, and the volume of the way to MeV before the cut."""
    model = prepared(tiny_geometry, encoder="ae", preprocess="logit_shares")
    voxels, e_inc = showers(tiny_geometry, 20)
    x, c = model.preprocess(voxels, e_inc)
    z = model.encoder.encode(x, c)
    context = model.preprocess.context(voxels, e_inc)

    def shower(z, i):
        mean = model.encoder.decode(z[None], c[i : i + 1]).mean
        of_row = Context(context.e_inc[i : i + 1], context.layers[i : i + 1])
        return model.preprocess.inverse(mean, of_row, readout=False)[0]

    jacobian = torch.stack([torch.func.jacrev(shower)(z[i], i) for i in range(20)]).double()
    volume = torch.linalg.svdvals(jacobian).log().sum(1)
    layers = model.energy.log_prob(context.layers, e_inc)
    expected = layers + model.density.log_prob(z, c) - volume
    torch.testing.assert_close(model.log_prob(voxels, e_inc), expected, rtol=1e-4, atol=2e-3)
    assert model.reconstruction_error(voxels, e_inc).shape == (20,)


@pytest.mark.parametrize("density", ["nsf", "maf", "caloman_nsf"])
def test_log_prob_does_not_depend_on_the_units_of_the_latents(tiny_geometry, density):
    """Latents ten times larger, decoded by a decoder that expects them: the same manifold."""
    model = prepared(tiny_geometry, encoder="pca", density=density)
    voxels, e_inc = showers(tiny_geometry, 100)
    before = model.log_prob(voxels, e_inc).detach()
    encoder = model.encoder
    posterior, decode = encoder.posterior, encoder.decode
    encoder.posterior = lambda x, c: DiracPosterior(10 * posterior(x, c).mean)
    encoder.decode = lambda z, c: decode(z / 10, c)
    encoder.half_logdet = super(type(encoder), encoder).half_logdet
    x, c = model.preprocess(*showers(tiny_geometry))
    model.density.prepare(TensorRows(encoder.encode(x, c).detach(), c))
    torch.testing.assert_close(model.log_prob(voxels, e_inc), before, rtol=1e-4, atol=2e-3)


def test_model_file_holds_everything(tiny_geometry, tmp_path):
    cfg = config()
    model = prepared(tiny_geometry)
    save_model(tmp_path / "model.pt", model, cfg)
    loaded, found = load_model(tmp_path / "model.pt")
    assert found == OmegaConf.to_container(cfg)
    assert loaded.geometry == tiny_geometry
    assert not loaded.training
    voxels, e_inc = showers(tiny_geometry, 40)
    assert torch.equal(loaded.sample(e_inc, Noise(0, 0, 40)), model.sample(e_inc, Noise(0, 0, 40)))
    assert torch.equal(loaded.log_prob(voxels, e_inc), model.log_prob(voxels, e_inc))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_the_energies_it_was_trained_on_travel_in_the_model_file(tiny_geometry, tmp_path):
    cfg, model = config(), prepared(tiny_geometry)
    path = tmp_path / "model.pt"
    save_model(path, model, cfg)
    assert load_model(path)[0].spectrum is None
    model.spectrum = Spectrum.measured(np.repeat([1e3, 2e3], [300, 100]))
    save_model(path, model, cfg)
    assert load_model(str(path))[0].spectrum == Spectrum((1e3, 2e3), (300.0, 100.0))
    content = torch.load(path, weights_only=True)
    torch.save({**content, "spectrum": {"energies": [2.0, 1.0], "weights": None}}, path)
    with pytest.raises(UserError, match="model.pt is damaged"):
        load_model(path)


def test_a_file_of_format_7_can_be_read_and_does_not_know_its_energies(tiny_geometry, tmp_path):
    model, path = prepared(tiny_geometry), tmp_path / "model.pt"
    save_model(path, model, config())
    content = torch.load(path, weights_only=True)
    del content["spectrum"]
    torch.save({**content, "format": 7}, path)
    loaded, _ = load_model(path)
    assert loaded.spectrum is None
    e_inc = torch.full((5, 1), 2e3)
    assert torch.equal(loaded.sample(e_inc, Noise(1, 0, 5)), model.sample(e_inc, Noise(1, 0, 5)))


def test_bad_model_files_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_model(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not a model")
    with pytest.raises(UserError, match="not a model file"):
        load_model(tmp_path / "text.pt")
    torch.save({"format": 99, "version": "9.9"}, tmp_path / "future.pt")
    with pytest.raises(UserError, match="format 99.*9.9"):
        load_model(tmp_path / "future.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="not a model file"):
        load_model(tmp_path / "list.pt")


@pytest.mark.parametrize("git", [{"commit": "903dec3d8ea41b09", "dirty": True}, None, "none"])
@pytest.mark.parametrize("other", ["tensor", "setting", "new setting"])
def test_a_file_of_another_edition_says_who_wrote_it(tiny_geometry, tmp_path, git, other):
    path = tmp_path / "model.pt"
    save_model(path, prepared(tiny_geometry), config())
    content = torch.load(path, weights_only=True)
    if other == "tensor":
        content["state"].pop(next(name for name in content["state"] if name.startswith("encoder")))
    elif other == "setting":
        del content["config"]["energy"]["hidden"]
        content["config"]["energy"]["width"] = 3
    else:
        content["config"]["head"]["telling"] = 3
    torch.save({**content, "version": "0.1.9"}, path)
    if git != "none":
        (tmp_path / "provenance.json").write_text(json.dumps({"git": git}))
    with pytest.raises(UserError) as refused:
        load_model(path)
    said = str(refused.value)
    assert "damaged" not in said
    commit = ", commit 903dec3d8ea4 with changes" if isinstance(git, dict) else ""
    assert re.search(rf"written by caloman 0\.1\.9{commit}[;)]", said)


def test_a_mistake_inside_a_group_stays_one_line(tiny_geometry):
    cfg = config(preprocess="logit_shares")
    cfg.preprocess.transforms[2].alpha = 0.7
    with pytest.raises(UserError, match="alpha=0.7"):
        build(cfg, tiny_geometry)
    cfg = config()
    cfg.encoder.latent_dim = "auto"
    with pytest.raises(UserError, match="latent_dim=auto"):
        build(cfg, tiny_geometry)
