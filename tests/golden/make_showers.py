"""How ``tests/golden/showers`` was made: 200 showers of each file, with the official numbers.

    python -m tests.golden.make_showers SHARED JETNET

SHARED holds the full files and ``golden/official_metrics.json``, what the official script returned
for float64 copies of them. What it returns for the first 200 showers is computed by the slow twin,
after it has given every number of the full files to a relative 1e-11. JETNET is the unpacked wheel
of jetnet 0.2.5, whose functions are run as they are (its compiled loops as plain Python).
"""

import importlib.util
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.features import feature_matrix, high_level_features
from tests.conftest import load_geometry
from tests.golden.official_twin import layer_columns, official_separations
from tests.golden.test_official_metrics import DATASETS, our_name

HERE = Path(__file__).parent / "showers"
ROWS = 200
FPD = {"min_samples": 200, "max_samples": 1000}
KPD = {"batch_size": ROWS}


def main() -> None:
    shared, jetnet = Path(sys.argv[1]), _jetnet(Path(sys.argv[2]))
    golden = json.loads((shared / "golden/official_metrics.json").read_text())
    made: dict[str, Any] = {"made_by": __doc__}
    for pair, expected in golden.items():
        geometry = load_geometry(DATASETS[expected["dataset"]])
        full = [shared / expected[side] for side in ("reference", "generated")]
        _same(expected, _numbers(full, geometry, expected))
        small = [_first(path) for path in full]
        made[pair] = {
            "reference": small[0].name,
            "generated": small[1].name,
            "dataset": expected["dataset"],
            **_numbers(small, geometry, expected),
            **_distances(jetnet, small, geometry),
        }
    (HERE / "official_metrics.json").write_text(json.dumps(made, indent=1) + "\n")


def _first(path: Path) -> Path:
    """The first rows of a file as a file of its own; those of dataset 2 to four digits."""
    target = HERE / path.name
    with h5py.File(path) as source, h5py.File(target, "w") as out:
        for name in ("incident_energies", "showers"):
            rows = source[name][:ROWS]
            if path.name.startswith("ds2") and name == "showers":
                rows = _rounded(rows)
            out.create_dataset(name, data=rows, chunks=rows.shape, compression=9, shuffle=True)
    return target


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 with 12 bits instead of 24, which compress to less than a megabyte."""
    bits = (values.view(np.uint32) + (1 << 11)) & ~np.uint32((1 << 12) - 1)
    return bits.view(np.float32)


def _numbers(paths: list[Path], geometry: Geometry, expected: dict) -> dict[str, Any]:
    """Separation powers, and the features of the second file, of float64 copies."""
    ours = official_separations(paths, geometry, np.float64)
    found = {name: ours[our_name(name)] for name in expected["separation"]}
    with h5py.File(paths[1]) as file:
        voxels = file["showers"][:].astype(np.float64)
    voxels[voxels < geometry.threshold] = 0
    columns = {"E_tot": voxels.sum(axis=-1)}
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        for name, values in layer_columns(layer, voxels[:, part]).items():
            columns[f"{name}/{layer.id}"] = values
    return {
        "separation": {k: None if np.isnan(v) else v for k, v in found.items()},
        "features_generated": {
            name: {
                "mean": columns[name].mean(),
                "std": columns[name].std(),
                "first5": columns[name][:5].tolist(),
            }
            for name in expected["features_generated"]
        },
    }


def _distances(jetnet: Any, paths: list[Path], geometry: Geometry) -> dict[str, Any]:
    sides = []
    for path in paths:
        with h5py.File(path) as file:
            energies, voxels = (file[name][:] for name in ("incident_energies", "showers"))
        showers = Showers.from_arrays(energies.astype(float), voxels.astype(float), geometry)
        sides.append(feature_matrix(high_level_features(showers)))
    found: dict[str, Any] = {"high_feature_shape": list(sides[0].shape), "fpd": None}
    warnings.simplefilter("ignore")
    if sides[0].shape[1] < ROWS:  # else the covariance has no root
        value, error = map(float, jetnet.fpd(*sides, **FPD))
        found["fpd"] = {"value": value, "error": error, **FPD}
    value, error = map(float, jetnet.kpd(*sides, **KPD))
    return {**found, "kpd": {"value": value, "error": error, **KPD}}


def _same(expected: dict, found: dict) -> None:
    """The twin's numbers of the full files are those of the official script."""
    for name, value in expected["separation"].items():
        other = found["separation"][name]
        assert (value is None) == (other is None), name
        if value is not None:
            np.testing.assert_allclose(other, value, rtol=1e-11, err_msg=name)
    for name, values in expected["features_generated"].items():
        noise = 1e-6 if name.startswith("width") else 1e-12  # what rounding leaves of a width 0
        for key, value in values.items():
            other = found["features_generated"][name][key]
            np.testing.assert_allclose(other, value, rtol=1e-9, atol=noise, err_msg=name)


def _jetnet(folder: Path) -> Any:
    """``jetnet.evaluation.gen_metrics`` without what it imports for other measures."""
    plain = types.SimpleNamespace(emds=None, prange=range, set_num_threads=None, JetNet=None)
    plain.njit = lambda *given, **_: given[0] if given else lambda function: function
    for name in ("energyflow", "energyflow.emd", "numba", "jetnet", "jetnet.datasets"):
        module = types.ModuleType(name)
        module.__dict__.update(vars(plain), utils=None)
        sys.modules[name] = module
    path = folder / "jetnet/evaluation/gen_metrics.py"
    spec = importlib.util.spec_from_file_location("gen_metrics", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gen_metrics"] = module  # it asks for itself
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
