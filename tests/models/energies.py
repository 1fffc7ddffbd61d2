"""A stack of layers for tests of energy models."""

from caloman_cli.data.geometry import Geometry

RESPONSE = 2.0


def layered(n_layers, energies=None):
    return Geometry.from_dict(
        {
            "name": f"stack{n_layers}",
            "particle": "electron",
            "threshold": 0.1,
            "max_response": RESPONSE,
            "incident_energies": energies,
            "layers": [{"id": i, "r_edges": [0, 5], "n_alpha": 2} for i in range(n_layers)],
        }
    )
