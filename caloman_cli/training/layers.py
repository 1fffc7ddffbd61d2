"""Intrinsic dimensions of what the layers of networks make of validation rows."""

from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from caloman_cli.errors import UserError
from caloman_cli.metrics.intrinsic_dimension import neighbour_distances, two_nn
from caloman_cli.models.trainable import RowSource, Trainable

_ROWS = 1000  # of the validation split, spread over it


class _Listener:
    """What one linear layer is given: the activations of the layer before it."""

    def __init__(self) -> None:
        self.heard: list[Tensor] = []
        self.place = -1  # in the order in which layers were first called

    def dimension(self) -> float | None:
        """TwoNN's; None where activations are none, infinite, or too few of them differ."""
        x = torch.cat(self.heard).double().cpu().numpy()
        if not np.isfinite(x).all():
            return None
        try:
            return two_nn(neighbour_distances(x, 2)[0])
        except UserError:
            return None


def layer_dimensions(
    model: Trainable, rows: RowSource, batch_size: int = 500
) -> dict[str, float | None]:
    """TwoNN dimensions of hidden activations, network by network.

    A network is what a direct member of the model holds: ``encoder`` and ``decoder`` of most
    encoders, ``flow`` of a flow. Its hidden layers are what its linear layers but the first are
    given, unless that is the data; each counts when it is first called in a batch.

    The dimension of the last one (LLID) at equal training loss goes with how well a network
    generalises; the largest one (PID) falls where a network is held back too much.

    Args:
        model: In evaluation mode.
        rows: Rows as its loss documents them; what it is scored with is what its layers see.
        batch_size: Rows at once.

    Returns:
        ``<network>/last`` and ``<network>/peak`` of each network with hidden layers; None where it
        is not known, as of activations that are constant.

    References:
        Facco et al. (2017), TwoNN, arXiv:1803.06992.
        Ansuini et al. (2019), Intrinsic dimension of data representations in deep neural networks,
        arXiv:1905.12784.
    """
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(int)
    networks = {
        name: {layer: _Listener() for layer in part.modules() if isinstance(layer, nn.Linear)}
        for name, part in model.named_children()
    }
    called: set[nn.Module] = set()

    def listen(
        layer: nn.Module, listener: _Listener, batch: tuple[Tensor, ...]
    ) -> RemovableHandle:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            (x, *_) = given
            if layer in called or len(x) != len(batch[0]):
                return
            called.add(layer)
            if listener.place < 0:
                listener.place = len(called)
            # Conditions that enter deep inside are no layer's work.
            if not any(x.shape == data.shape and torch.equal(x, data) for data in batch):
                listener.heard.append(x.detach().flatten(1))

        return layer.register_forward_pre_hook(hook)

    with torch.no_grad():
        for part in np.array_split(chosen, max(1, -(-len(chosen) // batch_size))):
            called.clear()
            batch = rows.rows(part)
            with ExitStack() as hooks:
                for layers in networks.values():
                    for layer, listener in layers.items():
                        hooks.callback(listen(layer, listener, batch).remove)
                model.scores(batch)
    found: dict[str, float | None] = {}
    for name, layers in networks.items():
        used = [listener for listener in layers.values() if listener.place >= 0]
        later = sorted(used, key=lambda listener: listener.place)[1:]
        hidden = [listener for listener in later if listener.heard]
        if not hidden:
            continue
        dimensions = [listener.dimension() for listener in hidden]
        known = [value for value in dimensions if value is not None]
        found[f"{name}/last"] = dimensions[-1]
        found[f"{name}/peak"] = max(known) if known else None
    return found
