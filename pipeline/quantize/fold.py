"""Trace a network into a flat graph of named steps, with batch normalisation folded away."""

from __future__ import annotations

import copy
import inspect
import operator
import re
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.quantize.functional_layers import is_spelled, spelled_layer
from edgeticket.pipeline.quantize.steps import (
    HARD_SWISHES,
    MAXIMA,
    PLAIN,
    Role,
    Slot,
    Step,
    kind,
    role,
)

BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d)
Convolution = (nn.Conv1d, nn.Conv2d)
# What a graph says of its own inputs.
CHECKS: tuple[Any, ...] = (torch._assert, fx._symbolic_trace._assert_is_none)
NoOperation = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def fold_bn(module: nn.Module) -> fx.GraphModule:
    """The same function in evaluation mode as a flat graph without batch normalisation.

    Every node of the result is a submodule of its own name (``layer1_0_conv1``,
    ``layer1_0_add``); weights are copies. Folding a folded graph gives an equal graph.
    A node's ``meta`` has the path of the ``module`` that it was, and of the ``norm`` in it.

    Raises:
        InputError: the network cannot be traced, or a BatchNorm does not follow a
            convolution or linear layer directly.
    """
    tracer = _Tracer()
    source = copy.deepcopy(module).eval()
    try:
        traced = tracer.trace(source, _defaults(source))
    except (fx.proxy.TraceError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"{type(module).__name__} cannot be traced ({error}); "
            "write its forward without control flow that depends on tensors"
        ) from None

    _drop_unused(traced)
    graph = fx.Graph()
    steps: dict[str, Any] = {}  # modules, and tensors of the network, by name of the new node
    place: dict[fx.Node, fx.Node] = {}  # traced node -> new node

    for node in traced.nodes:
        step, path = None, str(node.target)
        if node.op == "call_module":
            step = source.get_submodule(path)
        elif is_spelled(node):
            step, path = spelled_layer(node, source), _module_of(node)
        if node.op == "output":
            graph.output(fx.map_arg(node.args[0], lambda n: place[n]))
        elif node.op == "placeholder":
            place[node] = graph.placeholder(node.name)
        elif node.op == "get_attr" and all(map(is_spelled, node.users)):
            continue
        elif node.op == "get_attr":
            # A tensor of the network's own, such as the positions of a transformer.
            steps[node.name] = operator.attrgetter(str(node.target))(source)
            place[node] = graph.get_attr(node.name)
        elif isinstance(step, BatchNorm):
            before = node.args[0]
            assert isinstance(before, fx.Node)
            alone = len(before.users) == 1 and step.running_mean is not None
            steps[before.name] = _fuse(steps.get(before.name) if alone else None, step, name=path)
            place[node] = place[before]
            place[node].meta["norm"] = path
        elif isinstance(step, NoOperation):
            assert isinstance(node.args[0], fx.Node)
            place[node] = place[node.args[0]]
        else:
            tensors, made = _as_module(node, step)
            sources = tuple(place[t] for t in tensors)
            if kind(made) in HARD_SWISHES:
                gate = _append(graph, steps, nn.Hardsigmoid(), sources, f"{_name(node)}_gate")
                sources, made = (*sources, gate), Step(operator.mul, (Slot(0), Slot(1)), {})
            made_node = place[node] = _append(graph, steps, made, sources, _name(node))
            if step is not None:
                made_node.meta["module"] = path
            if role(made) is Role.CLAMP and _is_chain([*tensors[0].all_input_nodes, *tensors]):
                place[node] = _clamp_before_maximum(made_node, steps)

    folded = fx.GraphModule(steps, graph, class_name=type(module).__name__)
    return folded.eval()


def _append(
    graph: fx.Graph,
    steps: dict[str, nn.Module],
    step: nn.Module,
    sources: tuple[fx.Node, ...],
    name: str,
) -> fx.Node:
    node = graph.create_node("call_module", "", sources, name=name)
    node.target = node.name
    steps[node.name] = step
    return node


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Step) or super().is_leaf_module(m, module_qualified_name)


def _defaults(source: nn.Module) -> dict[str, Any]:
    """The arguments of a network, besides its input, that it is called without."""
    _first, *others = inspect.signature(source.forward).parameters.values()
    return {p.name: p.default for p in others if p.default is not inspect.Parameter.empty}


def _drop_unused(graph: fx.Graph) -> None:
    """Without the checks that timm's layers and the tracer make, and what they alone read."""
    others = [node for node in graph.nodes if node.op == "placeholder"][1:]
    waiting = [n for n in graph.nodes if n.target in CHECKS] + others
    waiting += [n for n in graph.nodes if n.target is getattr and not n.users]
    gone = set()
    for node in waiting:  # which grows
        if not node.users and node not in gone:
            before = node.all_input_nodes
            graph.erase_node(node)
            gone.add(node)
            waiting += [n for n in before if n.op == "call_function" or n in others]


def _name(node: fx.Node) -> str:
    """``layer1.0`` + ``add`` -> ``layer1_0_add``; a module keeps its own path."""
    if node.op == "call_module":
        return node.name
    path = list(node.meta.get("nn_module_stack", {}))[-1:]
    function = re.sub(r"_\d+$", "", node.name)  # the new graph numbers its own
    return "_".join([*path, function]).replace(".", "_")


def _as_module(node: fx.Node, step: nn.Module | None) -> tuple[list[fx.Node], nn.Module]:
    """The values that flow into ``node``, and the module to call with them."""
    values = [n for n in node.all_input_nodes if not (is_spelled(node) and n.op == "get_attr")]
    if step is not None:
        return values, copy.deepcopy(step)  # a module that is called twice becomes two steps
    slots: dict[fx.Node, Any] = {value: Slot(i) for i, value in enumerate(values)}
    args: Any = fx.map_arg(node.args, lambda n: slots[n])
    kwargs: Any = fx.map_arg(dict(node.kwargs), lambda n: slots[n])
    target = node.target
    function = getattr(torch.Tensor, target) if isinstance(target, str) else target
    return values, Step(PLAIN.get(function, function), args, kwargs)


def _module_of(node: fx.Node) -> str:
    """The path of the module that calls the function of ``node``."""
    return str((list(node.meta.get("nn_module_stack", {})) or [node.name])[-1])


def _is_chain(nodes: list[fx.Node]) -> bool:
    """Whether each of the nodes has one reader only."""
    return all(len(node.users) == 1 for node in nodes)


def _clamp_before_maximum(clamp: fx.Node, steps: dict[str, Any]) -> fx.Node:
    """clamp(max(x)) = max(clamp(x)): in front of the pool the clamp can fuse with a layer.

    Returns:
        The node that now gives the result.
    """
    (pool,) = clamp.all_input_nodes
    if pool.op == "placeholder" or kind(steps[pool.name]) not in MAXIMA:
        return clamp
    pool.prepend(clamp)
    clamp.args, pool.args = pool.args, (clamp,)
    return pool


def _fuse(layer: nn.Module | None, bn: nn.BatchNorm1d | nn.BatchNorm2d, *, name: str) -> nn.Module:
    if isinstance(layer, Convolution):
        return fuse_conv_bn_eval(layer, bn)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, bn)
    raise InputError(
        f"{name} ({type(bn).__name__}) cannot be folded: it must have running statistics and "
        "directly follow a convolution or linear layer that nothing else reads"
    )
