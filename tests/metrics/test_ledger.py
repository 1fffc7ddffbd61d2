"""What latents carry, on cases whose answers are known."""

import numpy as np
import pytest

from caloman_cli.errors import UserError
from caloman_cli.metrics.ledger import Inputs, code_bits, explained, in_use
from caloman_cli.metrics.observables import Observable

RNG = np.random.default_rng(0)
N = 1200
C = RNG.normal(size=(N, 3))
TRUE = np.ones((N, 1), bool)


@pytest.fixture(autouse=True)
def same_numbers():
    """Whichever tests have drawn before."""
    RNG.bit_generator.state = np.random.default_rng(2).bit_generator.state


def one(values, known=None, by_layer=False, name="y"):
    values = values.reshape(N, -1)
    known = np.ones(values.shape, bool) if known is None else known
    return Observable(name, name, values, known, by_layer)


def read(values, z, **more):
    inputs = [Inputs(C), Inputs(np.concatenate([C, z], 1))]
    found = explained(inputs, [one(values, **more)], seed=1)["y"]
    assert found is not None
    return found


def test_latents_in_use_have_a_mean_that_varies():
    mean = RNG.normal(size=(5000, 3)) * [1.0, 0.2, 0.05]
    sigma = np.ones_like(mean)
    assert in_use(mean, sigma).tolist() == [True, True, False]
    # A point has no unit of its own: all that varies counts.
    assert in_use(mean, np.zeros_like(mean)).all()
    assert in_use(np.stack([mean[:, 0], np.full(5000, 3.0)], 1)).tolist() == [True, False]


def test_what_an_average_keeps_of_its_draws_is_no_use():
    own = RNG.normal(size=(5000, 2))
    averaged = RNG.normal(size=(16, 5000, 2)).mean(0)  # of draws that say nothing
    said = RNG.normal(size=(5000, 1)) * [0.0, 1.0]
    assert in_use(said + averaged, drawn=said + own, averaged=16).tolist() == [False, True]


def test_bits_of_codes_are_the_entropy_of_their_usage():
    codes = np.stack([np.arange(64) % 8, np.full(64, 5), np.arange(64) % 4 == 0], 1)
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(code_bits(codes.astype(np.float32)), [3.0, 0.0, quarter])


def test_latents_that_pass_an_axis_on_predict_it_and_noise_does_not():
    axis = RNG.normal(size=(N, 2)) * 8.0
    known = read(axis, axis / 8 + 0.02 * RNG.normal(size=(N, 2)))
    assert known.values[1] > 0.95
    assert abs(known.values[0]) < 0.05
    noise = read(axis, RNG.normal(size=(N, 2)))
    assert abs(noise.gains[1]) < 0.08


def test_half_of_the_variance_is_half():
    z = RNG.normal(size=(N, 1))
    found = read(z + RNG.normal(size=(N, 1)), z)
    assert found.values[1] == pytest.approx(0.5, abs=0.08)
    assert 0.01 < found.gain_errors[1] < 0.06


def test_what_conditions_say_is_not_added_by_latents():
    found = read(2 * C[:, 0], C + 0.1 * RNG.normal(size=C.shape))
    assert found.values[0] > 0.95
    assert abs(found.gains[1]) < 0.03


def test_vectors_are_pooled_and_layers_averaged():
    z = RNG.normal(size=(N, 1))
    values = np.concatenate([10 * z, RNG.normal(size=(N, 1))], 1)  # one of them nothing but noise
    pooled, averaged = (read(values, z, by_layer=by_layer) for by_layer in (False, True))
    assert pooled.values[1] > 0.95
    assert averaged.values[1] == pytest.approx(0.5, abs=0.06)
    assert averaged.columns[:, 1] == pytest.approx([1.0, 0.0], abs=0.1)


def test_codes_have_no_order():
    """Numbers in the order of codes would say nothing smooth; as codes they say it all."""
    codes = RNG.integers(40, size=(N, 2))
    values = RNG.normal(size=40)[codes[:, 0]]
    found = explained([Inputs(C), Inputs(C, codes * 7.0)], [one(values)], seed=1)["y"]
    assert found is not None
    assert found.values[1] > 0.9


def test_rare_codes_share_a_place():
    codes = np.concatenate([np.arange(300), np.zeros(N - 300)])[:, None]
    columns, kinds = Inputs(C, codes).columns()
    assert kinds.tolist() == [False] * 3 + [True]
    assert columns[:, 3].max() == 254
    assert (columns[300:, 3] == 0).all()  # the most frequent one


def test_what_is_not_known_does_not_count():
    z = RNG.normal(size=(N, 1))
    known = (np.arange(N) % 3 > 0)[:, None]
    found = read(np.where(known, z, 0.0), z, known=known)
    wild = read(np.where(known, z, 1e6), z, known=known)
    np.testing.assert_allclose(wild.values, found.values)
    assert wild.values[1] > 0.95
    dark = explained([Inputs(C)], [one(z, np.zeros((N, 1), bool))], seed=1)
    constant = explained([Inputs(C)], [one(np.full(N, 3.0))], seed=1)
    assert dark["y"] is constant["y"] is None


def test_few_showers_are_refused():
    few = Observable("y", "y", C[:199, :1], TRUE[:199])
    with pytest.raises(UserError, match="199 showers: .* from 200 or more"):
        explained([Inputs(C[:199])], [few])


def test_what_the_energies_say_by_definition_is_not_learned():
    """Nothing is added to it, and what is learned stays as it is."""
    depth = Observable("depth", "depth", C[:, :1] * 1e3, TRUE, given=True)
    flat = Observable("flat", "flat", np.ones((N, 1)), TRUE, given=True)
    z = RNG.normal(size=(N, 1))
    inputs = [Inputs(C), Inputs(np.concatenate([C, z], 1))]
    both = explained(inputs, [depth, flat, one(z)], seed=1)
    alone = explained(inputs, [one(z)], seed=1)
    assert both["flat"] is None
    assert both["depth"] is not None
    assert both["depth"].values.tolist() == [1.0, 1.0]
    assert both["depth"].gains.tolist() == [0.0, 0.0]
    assert both["y"] is not None
    assert alone["y"] is not None
    assert both["y"].values.tolist() == alone["y"].values.tolist()
    assert explained(inputs, [flat]) == {"flat": None}
