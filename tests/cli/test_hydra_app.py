"""What caloman asks of Hydra's inside, held against the Hydra that is installed."""

import os
import re
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode

import caloman_cli
from caloman_cli.cli.hydra_app import opened, parser
from caloman_cli.errors import UserError

GIVEN = ["run=x", "n=3"]


def test_one_file_knows_hydras_inside():
    package = Path(caloman_cli.__file__).parent
    inside = re.compile(r"^\s*(import|from) hydra\._", re.MULTILINE)
    knows = [path.name for path in package.rglob("*.py") if inside.search(path.read_text())]
    assert knows == ["hydra_app.py"]


def test_configs_are_composed_with_hydras_own_part():
    with opened("sample") as app:
        cfg = app.compose([*GIVEN, "seed=7"])
        assert (cfg.seed, cfg.hydra.mode, cfg.hydra.job.name) == (7, None, "sample")
        assert list(cfg.hydra.overrides.task) == [*GIVEN, "seed=7"]
        assert app.compose([*GIVEN, "seed=1,2"], many=True).hydra.mode is not RunMode.RUN
        assert GlobalHydra.instance().is_initialized()
    assert not GlobalHydra.instance().is_initialized()


def test_a_multirun_is_split_as_hydra_will_split_it():
    with opened("sample") as app:
        jobs = app.jobs([*GIVEN, "seed=1,2", "device=cpu,auto"])
        fixed = [[word for word in job if word.startswith(("seed", "device"))] for job in jobs]
        assert fixed == [[f"seed={s}", f"device={d}"] for s in (1, 2) for d in ("cpu", "auto")]


def test_groups_and_options_are_listed():
    with opened("train") as app:
        assert {"dataset", "encoder", "trainer"} <= set(app.groups())
        assert "hydra" not in app.groups()
        assert "vae" in app.options("encoder")
        shown = app.compose_to_show([])  # though the dataset has yet to be chosen
        assert shown.encoder._target_
    with opened("sample") as app:  # energy= is a number there, not conf/energy
        assert "energy" not in app.groups()


def test_a_job_gives_back_what_it_returned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with opened("sample") as app:
        cfg = app.compose([*GIVEN, "seed=5"])
        assert app.run(cfg, lambda job: job.seed) == 5
        words = [*GIVEN, "seed=3,4", "hydra.mode=MULTIRUN", "hydra.sweep.dir=sweep"]
        done = app.run_many(words, lambda job: job.seed)
        assert [job.return_value for job in done] == [3, 4]
    assert [entry.name for entry in tmp_path.iterdir()] == ["sweep"]


@pytest.mark.parametrize("words", [["sede=1"], ["seed=1)"], ["logger=nothing"]])
def test_mistakes_are_raised_neither_printed_nor_an_exit(capsys, words, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with opened("evaluate") as app, pytest.raises(HydraException):
        app.compose(words)
    assert "HYDRA_FULL_ERROR" not in os.environ
    assert capsys.readouterr() == ("", "")


def test_options_are_hydras_own():
    options = parser().parse_args(["--cfg", "job", "--package", "encoder", "-m", "seed=1"])
    assert (options.cfg, options.package, options.multirun) == ("job", "encoder", True)
    assert options.overrides == ["seed=1"]
    assert {"help", "hydra_help", "info", "resolve", "config_dir"} <= set(vars(options))


def test_a_folder_of_ones_own_comes_first(tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "mine.yaml").write_text("_target_: my.Encoder\n")
    with opened("train", str(tmp_path)) as app:
        assert app.compose(["dataset=ds2", "encoder=mine"]).encoder._target_ == "my.Encoder"
    with pytest.raises(UserError, match="no such folder"), opened("train", str(tmp_path / "no")):
        pass
