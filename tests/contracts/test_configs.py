"""Every YAML in ``conf/`` composes and passes the check; experiments differ in what they say."""

from functools import cache
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from caloman_cli.config.check import check_config
from caloman_cli.config.compose import CONF, compose
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.two_step import build
from caloman_cli.runs.differences import differences

PUBLISHED = Path(__file__).parent / "published_system.yaml"
SIBLINGS = {
    "caloman_pions": ("caloman_photons", {"dataset"}),
    "caloman_poster": ("caloman_photons", {"encoder"}),
    "caloman_ds2": ("caloman_photons", {"dataset", "preprocess"}),
    "caloman_ds3": ("caloman_ds2", {"dataset"}),
    "calo_vq_ds2": ("calo_vq_ds1", {"dataset", "encoder", "head", "trainer"}),
    "flagship_ds3": ("flagship_ds2", {"dataset"}),
    "flagship_pions": ("flagship_photons", {"dataset", "energy"}),
    "flagship1_ds3": ("flagship1_ds2", {"dataset"}),
    "flagship1_pions": ("flagship1_photons", {"dataset", "energy", "head"}),
    "flagship1_photons": ("flagship_photons", {"density", "head", "trainer"}),
    "flagship1_ds2": ("flagship_ds2", {"density", "head", "trainer"}),
    "demo": ("flagship_photons", {"dataset", "encoder", "trainer"}),
}
"""Experiment -> the one it inherits from, and the groups in which it differs."""
ELSEWHERE = {"geometry", "hydra"}  # geometry is composed by every dataset
SUITES = {"evaluation", "metric"}
ZOO = "two_step_zoo_"


def options(group: str = "**") -> list[tuple[str, str]]:
    return sorted(
        (path.parent.relative_to(CONF).as_posix(), path.stem)
        for path in CONF.glob(f"{group}/*.yaml")
        if path.parent != CONF
        and path.relative_to(CONF).parts[0] not in ELSEWHERE
        and path.parent.name != "parts"  # of experiments, which name them
    )


EXPERIMENTS = [option for _, option in options("experiment")]


def together() -> list[list[str]]:
    """Every option of every group of ``caloman train`` at least once, one of each group a time.

    Composing takes a tenth of a second, whatever the overrides.
    """
    groups: dict[str, list[str]] = {}
    for group, option in options():
        if group not in SUITES | {"experiment"}:
            groups.setdefault(group, []).append(option)
    turns = range(max(map(len, groups.values())))
    return [[f"{g}={known[i % len(known)]}" for g, known in groups.items()] for i in turns]


@cache
def experiment(name: str) -> DictConfig:
    """The config of ``caloman train experiment=NAME``; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("CALOMAN_DATA", "CALOMAN_CACHE"):
            patch.delenv(variable, raising=False)
        cfg = compose("train", [f"experiment={name}", "output=x"])
        check_config(cfg, "train", complete=False)
        OmegaConf.resolve(cfg)
    return cfg


@pytest.mark.parametrize("chosen", together(), ids=" ".join)
def test_every_option_of_a_training_composes_and_passes_the_check(chosen):
    check_config(compose("train", [*chosen, "output=x"]), "train", complete=False)


@pytest.mark.parametrize(
    ("group", "option"), [o for group in sorted(SUITES) for o in options(group)]
)
def test_every_suite_composes_and_passes_the_check(group, option):
    # A metric goes where the command line would put it, whether or not its first line says so.
    metric = ["evaluation=only", f"+metric@evaluation.{option}={option}"]
    chosen = metric if group == "metric" else [f"{group}={option}"]
    check_config(compose("evaluate", [*chosen, "run=x"]), "evaluate", complete=False)


def test_no_option_is_empty_or_unused():
    used = {"dataset", "preprocess", "energy", "encoder", "head", "density", "calibration"}
    used |= {"trainer", "logger", "recipe", "debug"}
    assert {group for group, _ in options()} <= used | SUITES | {"experiment"}


def test_the_published_system_is_what_was_published():
    """Also when a default gets better, or a constructor a new argument with a neutral default."""
    published = OmegaConf.to_container(OmegaConf.load(PUBLISHED))
    now = OmegaConf.to_container(experiment("caloman_photons"))
    assert differences(published, {group: now[group] for group in published}) == []


@pytest.mark.parametrize("name", SIBLINGS)
def test_an_experiment_differs_from_its_sibling_in_what_it_says(name):
    sibling, expected = SIBLINGS[name]
    here, there = experiment(name), experiment(sibling)
    assert {group for group in here if here[group] != there[group]} == expected


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("flagship")])
def test_flagships_build_and_stay_small(name):
    """What draws showers: everything but the network that only training needs."""
    cfg = experiment(name)
    geometry = Geometry.from_dict(OmegaConf.to_container(cfg.dataset.geometry))
    model = build(cfg, geometry)
    recognition = sum(p.numel() for p in model.encoder.encoder.parameters())
    everything = sum(p.numel() for p in model.parameters())
    assert 0 < model.generating_parameters() == everything - recognition < 30e6


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_passes_the_check_and_builds(name):
    cfg = experiment(name)
    build(cfg, Geometry.from_dict(OmegaConf.to_container(cfg.dataset.geometry)))


@pytest.mark.slow
def test_the_zoo_is_every_pair_and_pairs_differ_in_what_they_are_called():
    """arXiv:2204.07172: equal first steps are equal in all that makes them, so are second ones."""
    pairs = [tuple(n.removeprefix(ZOO).split("_")) for n in EXPERIMENTS if n.startswith(ZOO)]
    firsts, seconds = ({pair[i] for pair in pairs} for i in (0, 1))
    assert len(pairs) == len(firsts) * len(seconds)
    assert firsts == {"ae", "avb", "bigan", "vae", "wae"}
    for first, second in pairs:
        cfg = experiment(f"{ZOO}{first}_{second}")
        like_first, like_second = experiment(f"{ZOO}{first}_nsf"), experiment(f"{ZOO}ae_{second}")
        for group in ("encoder", "head", "energy", "preprocess", "dataset"):
            assert cfg[group] == like_first[group]
        assert cfg.density == like_second.density
        assert cfg.trainer.encoder == like_first.trainer.encoder
        assert cfg.trainer.density == like_second.trainer.density
        assert (cfg.encoder.latent_dim, list(cfg.encoder.hidden)) == (20, [256])
        for stage in (cfg.trainer.encoder, cfg.trainer.density):
            assert (stage.optimizer, stage.batch_size, stage.ema) == ("adam", 128, None)
