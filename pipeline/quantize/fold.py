"""A network as the folded graph, in a module whose every step has a name."""

from __future__ import annotations

import copy
from typing import TypeGuard

from torch import fx, nn

from edgeticket.pipeline.graph.capture import Shapes, capture, input_shapes
from edgeticket.pipeline.graph.fold import fold
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.graph.module import to_module
from edgeticket.pipeline.graph.remembered import remembered


def fold_bn(
    module: nn.Module, takes: tuple[int, ...] | Shapes, *, shared: bool = False
) -> fx.GraphModule:
    """The same function in evaluation mode as a flat graph without batch normalisation.

    Every node of the result is a submodule of its own name (``layer1_0_conv1``,
    ``layer1_0_add``); weights are copies, unless ``shared``. Folding a folded graph gives an equal
    graph. A node's ``meta`` has the path of the ``module`` that it was, and of the ``norm`` in it.

    Args:
        module: any network, or a folded graph.
        takes: the shape of one input without the batch, or one for each input.
        shared: weights are those of the graph that is remembered, and so are only to be read; a
            folded graph is given back as it is.

    Raises:
        InputError: as `capture`.
    """
    if is_folded(module):
        return module if shared else copy.deepcopy(module).eval()
    parameters = {name for name, _ in module.named_parameters()}
    graph = folded_graph(module, takes)
    return to_module(graph, title=type(module).__name__, moving=parameters, shared=shared)


def folded_graph(module: nn.Module, takes: tuple[int, ...] | Shapes) -> Graph:
    """The graph that `fold_bn` makes a module of; to be read only.

    Raises:
        InputError: as `capture`.
    """
    return remembered(module, input_shapes(takes), lambda: fold(capture(module, takes)))


def is_folded(module: nn.Module) -> TypeGuard[fx.GraphModule]:
    """Whether it is what `fold_bn` gives."""
    return isinstance(module, fx.GraphModule) and "graph" in module.meta
