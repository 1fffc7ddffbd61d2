"""TabDPT as a classifier, with a stand-in for the transformer: what it is given and says."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from caloman_cli.errors import UserError
from caloman_cli.evaluation.components import Classifier
from caloman_cli.metrics.classifier.tabdpt import CONTEXT, ENSEMBLE
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
from tests.metrics.test_classifier import gaussian

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def package(monkeypatch):
    """Modules ``tabdpt`` and ``safetensors``, whose transformer is a linear discriminant."""
    asked = []

    class Stub:
        def __init__(self, **settings):
            if settings["model_weight_path"] is None:
                raise FileNotFoundError("no network")
            if "broken" in settings["model_weight_path"]:
                raise safetensors.SafetensorError("header too small")
            asked.append(settings)
            self.model = torch.nn.Linear(3, 2)

        def fit(self, x, y):
            self.x, self.y = x, y

        def ensemble_predict_proba(self, x, *, n_ensembles, context_size, seed):
            read = np.random.default_rng(seed).permutation(len(self.x))[:context_size]
            asked.append({"ensemble": n_ensembles, "context": context_size, "width": x.shape[1]})
            return LinearDiscriminantAnalysis().fit(self.x[read], self.y[read]).predict_proba(x)

    tabdpt, safetensors = ModuleType("tabdpt"), ModuleType("safetensors")
    tabdpt.TabDPTClassifier = Stub
    safetensors.SafetensorError = type("SafetensorError", (Exception,), {})
    for module in (tabdpt, safetensors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.touch()
    return str(path)


@pytest.mark.parametrize(("shift", "auc", "within"), [(1.0, 0.760, 0.02), (0.0, 0.5, 0.03)])
def test_one_width_apart_has_its_known_auc(tiny_geometry, package, weights, shift, auc, within):
    sides = gaussian(tiny_geometry, 6000, 1), gaussian(tiny_geometry, 6000, 2, shift=shift)
    found = ClassifierTest("tabdpt", tabdpt_weights=weights)(*sides)
    assert found["auc_raw"] == pytest.approx(auc, abs=within)
    assert found["auc"] == pytest.approx(auc, abs=within)
    assert (found["preset"], found["units"], found["epochs"]) == ("tabdpt", None, ENSEMBLE)
    assert found["parameters"] == 3 * 2 + 2
    assert package[0]["model_weight_path"] == weights and package[0]["device"] == "cpu"
    assert package[1]["ensemble"] == ENSEMBLE and package[1]["context"] == CONTEXT


def test_a_section_says_what_was_read(tiny_geometry, package, weights):
    sides = gaussian(tiny_geometry, 300, 1), gaussian(tiny_geometry, 300, 2)
    metric = Classifier(["tabdpt"], tabdpt_weights=weights)
    found = metric._trained(comparison(), "tabdpt", *sides)
    said = metric._conditions("tabdpt", found)
    assert said["context"] == CONTEXT and said["ensemble"] == ENSEMBLE
    assert "nothing trained" in metric._note({"tabdpt": {"generated": found}})


def comparison():
    return SimpleNamespace(
        seed=0,
        protocol=SimpleNamespace(name="final"),
        device="cpu",
        cache_dir=None,
        classifier_features=lambda showers, threshold: None,
    )


def test_what_is_missing_is_said_in_one_line(tiny_geometry, package, weights, tmp_path):
    sides = gaussian(tiny_geometry, 200, 1), gaussian(tiny_geometry, 200, 2)
    with pytest.raises(UserError, match=r"they cannot be downloaded \(FileNotFoundError: no net"):
        ClassifierTest("tabdpt")(*sides)
    with pytest.raises(UserError, match=r"tabdpt_weights=gone does not exist: give the file"):
        Classifier(["tabdpt"], tabdpt_weights="gone")
    broken = tmp_path / "broken"
    broken.touch()
    with pytest.raises(UserError, match=r"broken cannot be read \(SafetensorError: header"):
        ClassifierTest("tabdpt", tabdpt_weights=str(broken))(*sides)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tabdpt", None)
    with pytest.raises(UserError, match=r"mode tabdpt needs .*pip install 'caloman\[tabdpt\]'"):
        Classifier(["low", "tabdpt"])
