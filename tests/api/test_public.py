"""What ``import caloman_cli`` offers: a list that is kept, and that costs nothing to import."""

import subprocess
import sys

import pytest

import caloman_cli

PUBLIC = [
    "Geometry",
    "Model",
    "Scores",
    "Showers",
    "UserError",
    "__version__",
    "evaluate",
    "generate",
    "load_model",
]


def test_the_public_names_are_these():
    assert dir(caloman_cli) == PUBLIC
    assert sorted(caloman_cli.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(caloman_cli, name).__doc__


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = caloman_cli.nothing
    with pytest.raises(ImportError):
        from caloman_cli import nothing  # noqa: F401


def test_the_package_itself_loads_nothing_heavy():
    code = (
        "import sys, caloman_cli; dir(caloman_cli); caloman_cli.__version__;"
        "heavy = {'torch', 'numpy', 'hydra', 'omegaconf', 'h5py', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"
