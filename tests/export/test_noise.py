"""Numbers of a graph are those of a sample."""

import pytest
import torch

from caloman_cli.export.noise import Counted, Given, Seeded, Untraceable, seed_of
from caloman_cli.export.sampler import GivenSampler, counted, run
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model

SEEDS = 1, 0, 2**62 + 12345, -5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rows_last", [False, True])
def test_a_seeded_graph_draws_what_a_sample_draws(seed, rows_last):
    plain = Noise(seed, 40, 5)
    ours = Seeded(torch.tensor([seed]), torch.tensor([40]), 5)
    for shape in ((3, 7), (1,), (4,)):
        drawn, expected = (n.uniform(*shape, rows_last=rows_last) for n in (ours, plain))
        assert torch.equal(drawn, expected)
        drawn, expected = (n.normal(*shape, rows_last=rows_last) for n in (ours, plain))
        torch.testing.assert_close(drawn, expected, rtol=1e-6, atol=1e-6)


def test_given_numbers_are_handed_out_in_the_order_of_draws():
    whole = torch.arange(24.0).view(2, 12)
    noise = Given(whole, None)
    first, second = noise.uniform(2, 3), noise.uniform(6, rows_last=True)
    assert torch.equal(first, whole[:, :6].view(2, 2, 3))
    assert torch.equal(second, whole[:, 6:].t())


def test_a_shower_of_counted_numbers_is_that_of_the_same_noise(model_path):
    model, _ = load_model(model_path)
    numbers = counted(model)
    module = GivenSampler(model, numbers)
    inputs = module.example(torch.full((3, 1), 5e3), seed=2)
    assert inputs["uniform"].shape == (3, numbers.uniforms)
    # The same numbers as one long draw each are others than those of a sample: what is compared
    # is that equal inputs give equal showers, and others do not.
    assert torch.equal(run(module, inputs), run(module, inputs))
    others = inputs | {"normal": -inputs["normal"]}
    assert not torch.equal(run(module, inputs), run(module, others))


def test_parts_have_the_numbers_of_their_rows():
    """A model of many voxels draws large batches in parts, once a file is compared with it."""
    seeded = Seeded(torch.tensor([3]), torch.tensor([10]), 7)
    given = Given(torch.rand(7, 5), torch.randn(7, 4))
    for noise in (seeded, given):
        noise.uniform(2)
        parts = [noise.part(0, 3), noise.part(3, 7)]
        apart = torch.cat([part.uniform(3) for part in parts])
        assert apart.shape == (7, 3)
        assert torch.equal(apart, noise.uniform(3))


def test_noise_of_some_rows_is_refused():
    for noise in (Given(torch.zeros(2, 1), None), Counted(Noise(1, 0, 2))):
        with pytest.raises(Untraceable, match="some of the rows"):
            noise.rows(torch.tensor([0]))


def test_seeds_of_numbers_use_all_bits():
    low = seed_of(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
    assert int(low) == 0
    assert int(seed_of(torch.tensor([[0.5, 0.0, 0.0, 0.0]]))) == 1 << 15
    high = int(seed_of(torch.tensor([[1.0, 1.0, 1.0, 1.0]])))
    assert high % 2**64 == 2**64 - 1
