"""What makes another run of a config, and what an older one may lack."""

import copy

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from caloman_cli.config.compose import CONF, compose
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.two_step import build
from caloman_cli.runs.differences import differences, only

KEYS = [
    "experiment=flagship1_photons",
    "encoder.latent_dim=20",
    "output=x",
    "head=autoregressive",
]


@pytest.fixture(scope="module")
def composed():
    cfg = compose("train", KEYS)
    cfg.output = "x"
    build(
        cfg, Geometry.from_dict(OmegaConf.to_container(cfg.dataset.geometry))
    )  # as the verb does first
    return OmegaConf.to_container(cfg)


@pytest.fixture
def config(composed):
    return copy.deepcopy(composed)


def test_values_that_differ_are_named(config):
    other = copy.deepcopy(config)
    other["seed"], other["encoder"]["beta"], other["output"] = 2, 0.5, "y"
    assert set(differences(config, other)) == {"seed: 1 -> 2", "encoder.beta: 1.0 -> 0.5"}


def test_auto_answers_a_number_only_where_auto_became_it(config):
    other = copy.deepcopy(config)
    other["encoder"]["latent_dim"] = "auto"
    assert differences(config, other, ("encoder.latent_dim",)) == []
    assert differences(config, other, ()) == ["encoder.latent_dim: 20 -> auto"]
    other["seed"] = "auto"
    assert differences(config, other, ("encoder.latent_dim",)) == ["seed: 1 -> auto"]


def test_a_layer_that_repeats_is_no_other_detector_than_its_layers_alone(config):
    other = copy.deepcopy(config)
    config["dataset"]["geometry"]["layers"] = [
        {"id": number, "r_edges": [0, 1.0], "n_alpha": 4} for number in range(3)
    ]
    other["dataset"]["geometry"]["layers"] = [
        {"id": 0, "repeat": 3, "r_edges": [0, 1], "n_alpha": 4}
    ]
    assert differences(config, other) == []
    other["dataset"]["geometry"]["layers"][0]["repeat"] = 4
    (found,) = differences(config, other)
    assert found.startswith("dataset.geometry.layers")


def without(config, place):
    *groups, name = place.split(".")
    node = config = copy.deepcopy(config)
    for group in groups:
        node = node[int(group) if group.isdigit() else group]
    del node[name]
    return config


@pytest.mark.parametrize(
    "place",
    [
        "overwrite",  # the verb's own
        "reuse",
        "trainer.latents",
        "trainer.density.select",  # of a group
        "dataset.geometry_xml",
        "head.dipoles",  # an argument of a constructor
        "energy.components",
        "preprocess.transforms.0.keep_sums",  # of one in a list
    ],
)
def test_a_key_that_came_later_passes_with_its_neutral_value(config, place):
    assert differences(without(config, place), config) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("trainer.latents", "mean"),
        ("head.dipoles", True),
        ("encoder.augment", True),
        ("energy.order", "brightest_last"),
    ],
)
def test_a_key_that_came_later_counts_with_another_value(config, place, value):
    stored = without(config, place)
    *groups, name = place.split(".")
    node = config
    for group in groups:
        node = node[group]
    node[name] = value
    assert differences(stored, config) == [f"{place}: None -> {value}"]


def test_a_list_that_came_later_passes_with_its_neutral_value():
    encoder = {"_target_": "caloman_cli.models.encoders.PCA", "latent_dim": 5}
    asked = {"encoder": {**encoder, "hidden": [384, 384]}}
    assert differences({"encoder": encoder}, asked) == []
    asked["encoder"]["hidden"] = [384]
    assert differences({"encoder": encoder}, asked) == ["encoder.hidden: None -> [384]"]


@pytest.mark.parametrize(("option", "same"), [("none", True), ("voxel_spectrum", False)])
def test_a_run_of_before_there_were_calibrations_had_none(config, option, same):
    stored = without(config, "calibration")
    chosen = compose("train", [f"calibration={option}"]).calibration
    config["calibration"] = OmegaConf.to_container(chosen)
    assert (differences(stored, config) == []) == same


def test_a_key_that_is_gone_counts(config):
    assert differences(config, without(config, "encoder.beta")) == ["encoder.beta: 1.0 -> None"]


def test_parts_of_a_config(config):
    assert only(config, ("seed", "trainer.latents", "nothing.here")) == {
        "seed": 1,
        "trainer": {"latents": "sample"},
        "nothing": {},
    }


def test_a_key_that_came_later_passes_inside_a_command(config):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):  # as the command line has it
        assert differences(without(config, "overwrite"), config) == []
        assert GlobalHydra.instance().is_initialized()
