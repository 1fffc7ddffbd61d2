"""The 3-D ResNet: its shape, its size, and that it sees where energy lies."""

import numpy as np
import pytest
import torch

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier.multiclass import MulticlassTest
from caloman_cli.metrics.classifier.resnet import ResNet18, image_shape
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
from tests.conftest import load_geometry

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def box() -> Geometry:
    """Five layers of 4 x 3 voxels."""
    layers = [{"id": number, "r_edges": [0, 5, 10, 15], "n_alpha": 4} for number in range(5)]
    return Geometry.from_dict(
        {
            "name": "box",
            "particle": "electron",
            "threshold": 0.01,
            "max_response": 2.0,
            "incident_range": [1.0e3, 1.0e5],
            "layers": layers,
        }
    )


def noisy(geometry: Geometry, n: int, seed: int, layer: int) -> Showers:
    """Noise everywhere and ten times as much energy in one layer."""
    rng = np.random.default_rng(seed)
    voxels = rng.random((n, geometry.n_voxels)).astype(np.float32) * 100
    voxels[:, geometry.slices[layer]] *= 10
    return Showers.from_arrays(np.full(n, 1000.0), voxels, geometry)


def test_the_size_is_that_of_its_layers():
    def normed(inputs, outputs, kernel):
        return inputs * outputs * kernel**3 + 2 * outputs

    stem = normed(1, 32, 7)
    stages = [(32, 32), (32, 64), (64, 64), (64, 128)]
    blocks = sum(normed(a, b, 3) + 3 * normed(b, b, 3) for a, b in stages)
    shortcuts = sum(normed(a, b, 1) for a, b in stages[1:])
    total = stem + blocks + shortcuts + (128 + 1 + 1) + 2
    count = sum(parameter.numel() for parameter in ResNet18((45, 16, 9)).parameters())
    assert count == total == 2_516_644


@pytest.mark.parametrize(("name", "shape"), [("ds2", (45, 16, 9)), ("ds3", (45, 50, 18))])
def test_the_official_images_pass_and_every_weight_learns(name, shape):
    geometry = load_geometry(name)
    assert image_shape(geometry) == shape
    model = ResNet18(shape, 3)
    logits = model(torch.rand(2, 1 + geometry.n_voxels))
    assert logits.shape == (2, 3)
    (logits**2).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_flat_order_is_layer_then_alpha_then_r(box):
    """An image whose layers differ and one whose rings differ reach the network as such."""
    model = ResNet18(image_shape(box)).eval()
    seen = []
    model.stem[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    voxels = torch.from_numpy(box.layer_index).float()[None]
    model(torch.cat([torch.zeros(1, 1), voxels], 1))
    assert seen[0].shape == (1, 1, 5, 4, 3)
    assert torch.equal(seen[0][0, 0, :, 0, 0], torch.arange(5.0))
    assert (seen[0].std((3, 4)) == 0).all()


def test_the_incident_energy_matters(box):
    model = ResNet18(image_shape(box)).eval()
    inputs = torch.rand(2, 1 + box.n_voxels)
    inputs[1, 1:] = inputs[0, 1:]
    first, second = model(inputs)
    assert first != second


def test_showers_that_differ_in_one_layer_are_told_apart(box):
    # Perfect accuracy ends the training; the normalisation's averages lag some forty steps behind.
    test = ClassifierTest("resnet", epochs=12, batch_size=12, learning_rate=3e-4)
    state = torch.random.get_rng_state()
    found = test(noisy(box, 100, 1, layer=0), noisy(box, 100, 2, layer=4))
    assert torch.equal(state, torch.random.get_rng_state())
    assert found["auc"] > 0.95
    assert (found["units"], found["epochs"], found["parameters"]) == (None, 12, 2_516_644)


def test_a_lone_last_row_does_not_stop_the_training(box):
    test = ClassifierTest("resnet", epochs=1, batch_size=17)  # 120 rows: 7 batches and one row
    assert 0 <= test(noisy(box, 100, 1, layer=0), noisy(box, 100, 2, layer=1))["auc"] <= 1


def test_many_classes(box):
    submissions = {str(layer): noisy(box, 100, layer, layer) for layer in range(3)}
    found = MulticlassTest("resnet", epochs=1, batch_size=30)(noisy(box, 50, 9, 1), submissions)
    assert found["parameters"] == 2_516_644 + 2 * (128 + 1 + 1)  # two more outputs
    np.testing.assert_allclose(np.sum(found["confusion"], 1), 1)
    assert all(score["mean"] < 0 for score in found["log_posterior"].values())


def test_layers_of_different_shapes_are_refused(tiny_geometry):
    showers = Showers.from_arrays(np.full(150, 1e3), np.zeros((150, 12)), tiny_geometry)
    with pytest.raises(UserError, match=r"tiny have 1 x 2, 4 x 2, 1 x 2.*use modes low, low_norm"):
        ClassifierTest("resnet")(showers, showers)
    with pytest.raises(UserError, match="protocol legacy2022 has no ResNet"):
        ClassifierTest("resnet", protocol="legacy2022")
    with pytest.raises(UserError, match="normalisation needs 2"):
        ClassifierTest("resnet", batch_size=1)
