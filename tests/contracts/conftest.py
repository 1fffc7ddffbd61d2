"""Which of all combinations the default run takes: some of each option, the others are slow."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Every encoder is tried with one of these heads, and every head with one of these encoders.
HEADS, ENCODERS = {"gaussian", "autoregressive_dipoles"}, {"vae"}
# Densities whose draws are many steps, or whose parts are made one by one.
COSTLY = {"maf", "tr0n", "forest", "ebm", "avb"}
OF_ALL = {
    "test_shapes",
    "test_saved_and_loaded_is_the_same",
    "test_it_refuses_latents_that_it_does_not_learn",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is not None and HERE in item.path.parents and dear(item.originalname, spec.params):
            item.add_marker(pytest.mark.slow)


def dear(test, params):
    """Whether a combination is left to the slow tests."""
    if "pair" in params:
        encoder, head = params["pair"]
        return head not in HEADS and encoder not in ENCODERS
    return params.get("name") in COSTLY and test not in OF_ALL
