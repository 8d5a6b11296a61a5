"""The one graph -> a module of PyTorch that runs and can be trained; `export` goes back."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgeticket.pipeline.graph.graph import Array, Constant, Graph, Operator
from edgeticket.pipeline.operators import KINDS

Layer = nn.Conv1d | nn.Conv2d | nn.Linear


class Step(nn.Module):
    """An operator without weights of its own, as a module: so it has a name, and can be watched."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.kind = operator.kind
        self.attributes: dict[str, Any] = dict(operator.attributes)
        if operator.clamp is not None:
            self.attributes["clamp"] = operator.clamp

    def forward(self, *values: Any) -> Any:
        meaning = KINDS[self.kind].meaning
        assert meaning is not None
        return meaning(torch, self.attributes, *values)

    def extra_repr(self) -> str:
        return f"{self.kind}, {self.attributes}"


def kind_of(module: nn.Module) -> str:
    """The kind of operator that a module of a graph is."""
    if isinstance(module, Step):
        return module.kind
    return "Gemm" if isinstance(module, nn.Linear) else "Conv"


def to_module(
    graph: Graph, *, title: str = "Network", moving: Collection[str] = (), shared: bool = False
) -> fx.GraphModule:
    """A module that computes ``graph`` for any batch, in evaluation mode.

    Every operator is a submodule of its own name; layers are PyTorch's, and those that read one
    constant have one parameter, so that training keeps it one. A node's ``meta`` has its
    ``operator``, the paths of the ``module`` and ``norm`` that it was, what it was ``scaled`` by,
    and how its weight was ``arranged``.

    Args:
        moving: constants that training may move, beside the weights of layers; others stay.
        shared: its tensors are those of ``graph``, and so are only to be read; else it has copies.
    """
    numbers = _viewed if shared else _copied
    traced, root = fx.Graph(), nn.Module()
    nodes: dict[str, fx.Node] = {}
    names: dict[str, str] = {}  # of values -> as nodes have them, which are identifiers
    stored: dict[str, fx.Node] = {}
    for name in graph.inputs:
        nodes[name] = traced.placeholder(_identifier(name))
        names[name] = nodes[name].name
    used = {n for op in graph.operators for n in _flowing(op)} & graph.constants.keys()
    layered = {n for op in graph.operators for n in op.inputs if n not in _flowing(op)}
    for name in graph.constants:
        if name in used:  # what a layer reads too stays one number for both: as it is
            is_moving = name in moving and name not in layered
            tensor = numbers(graph.constants[name].data)
            stored[name] = _stored(traced, root, name, tensor, is_moving=is_moving)
    operators: list[Operator] = []
    parameters: dict[str, nn.Parameter] = {}  # of layers, by constant
    for operator in graph.operators:
        sources = tuple(nodes.get(n) or stored[n] for n in _flowing(operator))
        node = traced.create_node("call_module", "", sources, name=_identifier(operator.output))
        node.target = names[operator.output] = node.name
        nodes[operator.output] = node
        inputs, output = tuple(names.get(n, n) for n in operator.inputs), operator.output
        operator = replace(operator, name=node.name, inputs=inputs, output=node.name)
        is_layer = operator.kind in ("Conv", "Gemm")
        module: nn.Module = Step(operator)
        if is_layer:
            for constant in operator.inputs[1:]:
                if constant not in parameters:
                    data = graph.constants[constant].data
                    parameters[constant] = nn.Parameter(numbers(data))
            module = _layer(operator, parameters)
        root.add_module(node.name, module)
        node.meta["operator"] = operator
        paths = zip(("module", "norm", "source"), operator.origin, strict=False)
        node.meta |= {key: path for key, path in paths if path}
        if scaled := graph.scaled.get(output):
            node.meta["scaled"] = scaled
        if arranged := graph.arranged.get(output):
            node.meta["arranged"] = arranged
        operators.append(operator)
    results = tuple(nodes[name] for name in graph.outputs)
    traced.output(results[0] if len(results) == 1 else results)
    traced_module = fx.GraphModule(root, traced, class_name=title)
    traced_module.meta["graph"] = Graph(
        tuple(names[name] for name in graph.inputs),
        tuple(names[name] for name in graph.outputs),
        tuple(operators),
        {names[n]: replace(value, name=names[n]) for n, value in graph.values.items()},
        graph.constants,
    )
    return traced_module.eval()


def _flowing(operator: Operator) -> tuple[str, ...]:
    """What a module of it is called with: a layer has its weights inside."""
    return operator.inputs[:1] if operator.kind in ("Conv", "Gemm") else operator.inputs


class StoredOnce:
    """Names of constants: what several layers share is called after the first of them."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, bytes], str] = {}

    def __call__(self, tensor: Tensor, name: str, form: bytes = b"") -> str:
        """``name``, or that of the first that had this parameter in the same ``form``."""
        return self._names.setdefault((id(tensor), form), name)


def layer_constants(
    operator: Operator, layer: Layer, names: StoredOnce, *, shared: bool = False
) -> tuple[Operator, dict[str, Constant]]:
    """An operator that reads the weights of ``layer``, and those; copies, unless ``shared``."""
    weights: dict[str, Constant] = {}
    for attribute in ("weight", "bias"):
        tensor = getattr(layer, attribute)
        if tensor is not None:
            array = tensor.detach().cpu().numpy()
            name = names(tensor, f"{operator.name}.{attribute}")
            weights[name] = Constant(array if shared else array.copy())
    return replace(operator, inputs=(operator.inputs[0], *weights)), weights


def tied_layers(module: fx.GraphModule) -> list[list[fx.Node]]:
    """Layers that share a weight, in order: each time those of one weight."""
    groups: dict[int, list[fx.Node]] = {}
    for node in module.graph.nodes:
        layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, Layer):
            groups.setdefault(id(layer.weight), []).append(node)
    return [nodes for nodes in groups.values() if len(nodes) > 1]


def _viewed(data: Array) -> Tensor:
    return torch.from_numpy(data) if data.flags.writeable else _copied(data)


def _copied(data: Array) -> Tensor:
    return torch.from_numpy(np.array(data))


def _layer(operator: Operator, parameters: Mapping[str, nn.Parameter]) -> nn.Module:
    weight, *bias = (parameters[name] for name in operator.inputs[1:])
    if operator.kind == "Gemm":
        rows, columns = weight.shape
        layer: nn.Module = nn.Linear(columns, rows, bias=bool(bias), device="meta")
    else:
        a = operator.attributes
        axes = weight.ndim - 2
        kernel: Any = tuple(weight.shape[2:])
        layer = (nn.Conv1d, nn.Conv2d)[axes - 1](
            weight.shape[1] * a["group"],
            weight.shape[0],
            kernel,
            tuple(a["strides"]),
            tuple(a["pads"][:axes]),
            tuple(a["dilations"]),
            a["group"],
            bias=bool(bias),
            device="meta",
        )
    layer.weight = weight
    if bias:
        layer.bias = bias[0]
    return layer


def _stored(
    traced: fx.Graph, root: nn.Module, name: str, tensor: Tensor, *, is_moving: bool
) -> fx.Node:
    label = _identifier(name)
    while hasattr(root, label):
        label += "_"
    if is_moving:
        root.register_parameter(label, nn.Parameter(tensor))
    else:
        root.register_buffer(label, tensor)
    node = traced.get_attr(label)
    node.meta["constant"] = name
    return node


def _identifier(name: str) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "step"
    if plain[0].isdigit():
        plain = f"_{plain}"
    return f"{plain}_" if keyword.iskeyword(plain) or hasattr(nn.Module, plain) else plain
