"""A network as the folded graph, in a module whose every step has a name."""

from __future__ import annotations

import copy

from torch import fx, nn

from edgeticket.pipeline.graph.capture import Shapes, capture, input_shapes
from edgeticket.pipeline.graph.fold import fold
from edgeticket.pipeline.graph.module import to_module
from edgeticket.pipeline.graph.remembered import remembered


def fold_bn(module: nn.Module, takes: tuple[int, ...] | Shapes) -> fx.GraphModule:
    """The same function in evaluation mode as a flat graph without batch normalisation.

    Every node of the result is a submodule of its own name (``layer1_0_conv1``,
    ``layer1_0_add``); weights are copies. Folding a folded graph gives an equal graph.
    A node's ``meta`` has the path of the ``module`` that it was, and of the ``norm`` in it.

    Args:
        module: any network, or a folded graph.
        takes: the shape of one input without the batch, or one for each input.

    Raises:
        InputError: as `capture`.
    """
    if isinstance(module, fx.GraphModule) and "graph" in module.meta:
        return copy.deepcopy(module).eval()
    parameters = {name for name, _ in module.named_parameters()}
    graph = remembered(module, input_shapes(takes), lambda: fold(capture(module, takes)))
    return to_module(graph, title=type(module).__name__, moving=parameters)
