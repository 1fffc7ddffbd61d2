"""Costly densities keep their cheapest tests in the default run; pairs are in ``pairs.py``."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Densities whose draws are many steps, or whose parts are made one by one.
COSTLY = {"maf", "tr0n", "forest", "ebm", "constrained_ebm", "avb", "diffusion", "mean_flow"}
OF_ALL = {
    "test_shapes",
    "test_saved_and_loaded_is_the_same",
    "test_it_refuses_latents_that_it_does_not_learn",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is None or HERE not in item.path.parents or item.originalname in OF_ALL:
            continue
        if spec.params.get("name") in COSTLY:
            item.add_marker(pytest.mark.slow)
