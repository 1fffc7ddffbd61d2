"""Where a run comes from."""

import json
import mmap
import platform
import resource

import numpy as np
import pytest
import torch

import caloman_cli
from caloman_cli.data.files import read_json
from caloman_cli.errors import UserError
from caloman_cli.runs import provenance
from caloman_cli.runs.directory import RunDirectory

CPU = torch.device("cpu")


def test_what_made_the_run():
    found = provenance.collect({"seed": 1}, CPU)
    json.dumps(found)
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["caloman"] == caloman_cli.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"]["type"] == "cpu"
    assert found["device"]["name"]
    assert {"host", "platform", "command", "cpus"} <= set(found)


def test_config_hash_ignores_the_order_of_keys():
    one = provenance.config_hash({"a": 1, "b": {"c": 2, "d": 3}})
    assert one == provenance.config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert one != provenance.config_hash({"a": 1, "b": {"c": 2, "d": 4}})


def test_git_state_of_a_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_CHECKOUT", tmp_path)
    assert provenance.git_state() is None


def test_peak_memory_of_a_block():
    with provenance.Usage(CPU) as before:
        # Pages of its own: an array may lie where others lay before, which is resident already.
        block = np.frombuffer(mmap.mmap(-1, 80 * 2**20), dtype=np.uint8)
        block.fill(1)
    del block  # still there at the end, where memory is sampled at the latest
    with provenance.Usage(CPU) as small:
        pass
    assert before.peak_rss_mib > small.peak_rss_mib + 40
    assert small.memory()["peak_cuda_mib"] is None


def test_measuring_memory_leaves_the_systems_record_alone():
    np.ones(80 * 2**20 // 8)
    record = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with provenance.Usage(CPU):
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >= record


def test_stages_and_data_are_added(tmp_path):
    run = RunDirectory(tmp_path)
    run.record(**provenance.collect({}, CPU))
    run.record_data({"name": "a", "fingerprint": "1"})
    run.record_stage("energy", {"seconds": 1.0})
    run.record_stage("encoder", {"seconds": 2.0})
    found = read_json(run.provenance_path)
    assert found["stages"] == {"energy": {"seconds": 1.0}, "encoder": {"seconds": 2.0}}
    assert found["versions"]["torch"]
    with pytest.raises(UserError, match="began with other showers"):
        run.record_data({"name": "a", "fingerprint": "2"})
