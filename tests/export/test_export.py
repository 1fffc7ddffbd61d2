"""``caloman export``: files of other programs draw the showers of ``caloman sample``."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from caloman_cli.cli.main import main
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import Failure, UserError
from caloman_cli.export import check, files
from caloman_cli.export.check import compared
from caloman_cli.export.par04 import CaloDiT, fits, par04
from caloman_cli.export.sampler import SeededSampler
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model
from tests.conftest import ROOT

CONSUMERS = ROOT / "scripts/consumers"


@pytest.mark.parametrize(("n", "first"), [(1, 0), (1, 41), (5, 0), (33, 7)])
def test_the_file_draws_what_sample_draws(onnx_path, model_path, n, first):
    """For any number of showers, whichever row of the sample comes first."""
    model, _ = load_model(model_path)
    e_inc = torch.logspace(3, 5, n)[:, None]
    expected = model.sample(e_inc, Noise(9, first, n))
    run = files.runner(onnx_path, "onnx")
    inputs = {"energies": e_inc, "seed": torch.tensor([9]), "first": torch.tensor([first])}
    (voxels,) = run(inputs)
    assert voxels.shape == expected.shape
    assert float(((voxels - expected).abs().amax(1) / e_inc[:, 0]).max()) < check.SAME


def test_the_file_says_what_it_is(onnx_path, model_path, capsys):
    assert main(["export", "describe", str(onnx_path), "json=true"]) == 0
    facts = json.loads(capsys.readouterr().out)
    model, config = load_model(model_path)
    assert facts["geometry"] == json.loads(json.dumps(model.geometry.to_dict()))
    assert facts["energy_range"] == [1e3, 1e5]
    assert [port["name"] for port in facts["inputs"]] == ["energies", "seed", "first"]
    assert facts["outputs"][0]["shape"] == ["batch", model.geometry.n_voxels]
    assert facts["model"]["density"] == "standard_normal"
    assert len(facts["model"]["config_sha256"]) == 64
    assert main(["export", "describe", f"file={onnx_path}"]) == 0
    said = capsys.readouterr().out
    for words in ("1000 ... 100000 MeV", "r fastest", "input seed: int64 (1)", "[MeV]"):
        assert words in said


def test_nothing_of_the_machine_is_in_the_file(onnx_path):
    content = onnx_path.read_bytes()
    assert b".py" not in content
    assert str(ROOT).encode() not in content


def test_the_python_consumer_draws_showers(onnx_path, tmp_path):
    out = tmp_path / "showers.npz"
    command = [sys.executable, CONSUMERS / "showers.py", onnx_path, "5000", "7", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "7 showers of tiny" in done.stdout
    drawn = np.load(out)
    assert drawn["voxels"].shape == (7, 12)
    assert (drawn["voxels"] >= 0).all()


def test_a_program_of_torch_takes_the_callers_noise(model_path, tmp_path, capsys):
    out = tmp_path / "given.pt2"
    given = ["format=exported_program", "noise=input", "batch_sizes=[2]", "showers=4"]
    assert main(["export", f"run={model_path}", f"out={out}", *given]) == 0
    assert main(["export", "describe", str(out)]) == 0
    said = capsys.readouterr().out
    assert "input uniform: float32 (batch, " in said
    assert "showers of a call: 2" in said
    graph = torch.export.load(out).module()
    model, _ = load_model(model_path)
    shapes = {p["name"]: p["shape"] for p in files.describe(out)["inputs"]}
    zeros = {name: torch.full((2, shape[1]), 0.5) for name, shape in shapes.items()}
    zeros["energies"] = torch.tensor([[2e3], [5e4]])
    voxels = graph(**zeros)
    assert voxels.shape == (2, model.geometry.n_voxels)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["out=x.pt2"], ["x.pt2", ".onnx", "format=onnx"]),
        (["out=x.onnx", "target=par04"], ["dataset 2", "tiny", "target=plain"]),
        (["out=x.onnx", "batch_sizes=[1,1]"], ["each size once"]),
        (["out=x.pt2", "format=exported_program", "target=par04"], ["format=onnx"]),
        (["out=x.onnx", "target=par04", "batch_sizes=[2]"], ["one shower a call"]),
        (["out=x.onnx", "noise=outside"], ["noise", "inside", "input"]),
        (["out=x.onnx", "batch_sizes=[0]"], ["batch_sizes"]),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    given, words, model_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", f"run={model_path}", *given]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_where_asked(onnx_path, model_path, capsys):
    before = onnx_path.read_bytes()
    assert main(["export", f"run={model_path}", f"out={onnx_path}"]) == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert onnx_path.read_bytes() == before


def test_without_the_extra_it_says_which(model_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", f"run={model_path}", f"out={tmp_path / 'x.onnx'}"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'caloman[onnx]'" in said
    assert "format=exported_program" in said
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(model_path, tmp_path, caplog):
    out = tmp_path / "x.onnx"
    assert main(["export", f"run={model_path}", f"out={out}", "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_refused(tmp_path, capsys):
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no model")
    assert main(["export", "describe", str(other)]) == 2
    assert "caloman export" in capsys.readouterr().err
    assert main(["export", "describe", str(tmp_path / "gone.onnx")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_other_showers_than_torchs_are_found(model_path):
    model, _ = load_model(model_path)
    module = SeededSampler(model)
    e_inc = torch.full((16, 1), 5e3)

    def right(inputs):
        return [module.expected(inputs, [])]

    def wrong(inputs):
        return [module.expected(inputs | {"seed": inputs["seed"] + 1}, [])]

    found = compared(module, right, e_inc, None)
    assert found.showers == 16 and found.others == 0 and found.largest <= check.SAME
    with pytest.raises(Failure, match="of 16 from the same noise"):
        compared(module, wrong, e_inc, None)


def test_a_file_that_fails_its_check_is_not_left(tmp_path):
    class Program:
        pass

    def refuses(runner):
        raise Failure("no")

    def save(program, file, extra_files):
        file.write(b"content")

    out = tmp_path / "x.pt2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.export, "save", save)
        patch.setattr(files, "runner", lambda path, format: None)
        facts = {"energy_range": None}
        with pytest.raises(Failure):
            files.write(out, "exported_program", Program(), None, facts, refuses)
    assert list(tmp_path.iterdir()) == []


def test_par04_orders_voxels_as_geant4_reads_them():
    class Model(torch.nn.Module):
        def sample(self, e_inc, noise):
            return torch.arange(6480.0).view(1, -1)

    module = CaloDiT.__new__(CaloDiT)
    torch.nn.Module.__init__(module)
    module.model = Model()
    condition = torch.tensor([[10.0, 0, 0, 0, 0, 0, 0, 0]])
    ordered, _ = module(condition)
    r, phi, z = 4, 11, 37
    assert float(ordered[0, (r * 16 + phi) * 45 + z]) == pytest.approx(
        ((z * 16 + phi) * 9 + r) / 1e3
    )


def test_a_model_for_par04_needs_its_mesh(model_path):
    assert fits(Geometry.named("ds2"))
    assert not fits(Geometry.named("ds3"))
    with pytest.raises(UserError, match="layers of different shapes"):
        par04(load_model(model_path)[0], "inside")


def test_the_cpp_consumer_draws_showers(onnx_path, tmp_path):
    """Where a compiler and headers are; the Python package has the library alone."""
    import onnxruntime

    places = [os.environ.get("ORT_INCLUDE"), "/usr/include/onnxruntime", "/usr/local/include"]
    headers = [p for p in places if p and (Path(p) / "onnxruntime_cxx_api.h").is_file()]
    compiler = shutil.which("g++")
    if compiler is None or not headers:
        pytest.skip("no g++, or no onnxruntime_cxx_api.h: name its folder in ORT_INCLUDE")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    program, out = tmp_path / "showers", tmp_path / "showers.bin"
    source = CONSUMERS / "showers.cpp"
    where = [f"-I{headers[0]}", library, f"-Wl,-rpath,{library.parent}"]
    subprocess.run([compiler, "-std=c++17", source, *where, "-o", program], check=True)
    subprocess.run([program, onnx_path, "5000", "7", out], check=True)
    voxels = np.fromfile(out, "float32").reshape(7, -1)
    assert voxels.shape == (7, 12)
    assert (voxels >= 0).all()
