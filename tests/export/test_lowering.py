"""What is written in other operations is the same."""

import torch

from caloman_cli.export import lowering
from caloman_cli.export.lowering import settled
from caloman_cli.models.nn.flows import LULinear, build_nsf


def test_rules_are_the_operations_that_they_replace():
    x, y = torch.randn(2, 5, 40).double().unbind()
    edges = torch.linspace(-2, 2, 9).double()
    for name, arguments in {
        "hypot": (x, y),
        "frac": (3 * x,),
        "copysign": (x, y),
    }.items():
        ours = getattr(lowering, f"_{name}")(*arguments)
        torch.testing.assert_close(ours, getattr(torch, name)(*arguments))
    torch.testing.assert_close(lowering._softplus(9 * x), torch.nn.functional.softplus(9 * x))
    for right in (False, True):
        expected = torch.searchsorted(edges, edges.expand(5, 9).contiguous(), right=right)
        ours = lowering._searchsorted(edges, edges.expand(5, 9), right=right)
        assert torch.equal(ours, expected)
    assert torch.equal(lowering._clamp(x, 0, 1.5), x.clamp(0, 1.5))
    assert lowering._clamp(x, 0.0, 1.5) is NotImplemented


def test_matrices_are_inverted_before_a_flow_is_traced():
    flow = build_nsf(4, 2, n_layers=2, hidden=8, n_blocks=1).eval()
    u, c = torch.randn(6, 4), torch.randn(6, 2)
    with torch.no_grad():
        plain = flow.inverse(u, c)
        with settled(flow):
            assert torch.equal(flow.inverse(u, c), plain)
            program = torch.export.export(_Back(flow), (u, c), strict=False)
    solved = [node for node in program.graph.nodes if "solve" in str(node.target)]
    assert not solved
    assert not any("_way_back" in vars(part) for part in flow.modules())
    assert not any("weight_inverse" in vars(p) for p in flow.modules() if isinstance(p, LULinear))


class _Back(torch.nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, u, c):
        return self.flow.inverse(u, c)
