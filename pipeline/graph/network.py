"""A network whose architecture is a graph: a module that runs it, and can be trained and narrowed.

Layers and batch norms are PyTorch's, under the names that their weights have, so that whatever
works on modules works on it. Nothing of it is traced or written as Python: `forward` walks over
the operators.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeticket.models.bounds import TooLargeError
from edgeticket.pipeline.graph.graph import Array, Constant, Graph, Operator
from edgeticket.pipeline.graph.written import MOST_SHOWN, parse_graph, shaped
from edgeticket.pipeline.operators import KINDS

Layer = nn.Conv1d | nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d

LAYERS: dict[str, tuple[str, ...]] = {  # kind -> names of the tensors that it reads, as PyTorch has
    "Conv": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}

NORMS: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
}  # by rank


class GraphNetwork(nn.Module):
    """A graph as a module [N, ...] -> its output, or several, with the graph's constants.

    Args:
        graph: in float32; its constants have the names that `plainly_named` gives.
        trained: constants that training may move.
    """

    def __init__(self, graph: Graph, trained: Collection[str]) -> None:
        super().__init__()
        self._form = replace(graph, constants={})
        self._layers: dict[str, str] = {}  # output of an operator -> path of its module
        paths: dict[str, tuple[Any, ...]] = {}
        for op in graph.operators:
            path, rank = layer_path(op), len(graph.values[op.output].shape)
            if path is None or (op.kind == "BatchNormalization" and rank not in NORMS):
                continue
            what = (op.kind, op.inputs[1:], repr(sorted(op.attributes.items())))
            if path not in paths:
                self._place(path, _layer(op, graph.constants, rank))
                paths[path] = what
            if paths[path] == what:  # else another form of it reads the same tensors
                self._layers[op.output] = path
        layered = {name for name, _ in self.state_dict().items()}
        for name, constant in graph.constants.items():
            if name not in layered:
                self._store(name, constant.data, is_trained=name in trained)
        self._names = tuple(graph.constants)
        # A value is let go when its last reader has run.
        left = Counter(name for op in graph.operators for name in {*op.inputs})
        left.update(graph.outputs)
        self._gone: list[tuple[str, ...]] = []
        for op in graph.operators:
            left.subtract({*op.inputs})
            self._gone.append(tuple(n for n in sorted({*op.inputs}) if n and not left[n]))

    def forward(self, *inputs: Tensor) -> Any:
        values: dict[str, Tensor] = dict(zip(self._form.inputs, inputs, strict=True))
        for op, gone in zip(self._form.operators, self._gone, strict=True):
            path = self._layers.get(op.output)
            if path is not None:
                values[op.output] = self.get_submodule(path)(values[op.inputs[0]])
            else:
                values[op.output] = self._compute(op, values)
            for name in gone:
                values.pop(name, None)
        results = tuple(values[name] for name in self._form.outputs)
        return results[0] if len(results) == 1 else results

    def _compute(self, op: Operator, values: Mapping[str, Tensor]) -> Tensor:
        given = [values[n] if n in values else self._tensor(n) for n in op.inputs if n]
        attributes = dict(op.attributes)
        if op.clamp is not None:
            attributes["clamp"] = op.clamp
        meaning = KINDS[op.kind].meaning
        assert meaning is not None
        result: Tensor = meaning(torch, attributes, *given)
        return result

    def _tensor(self, name: str) -> Tensor:
        place, _, attribute = name.rpartition(".")
        tensor: Tensor = getattr(self.get_submodule(place), attribute)
        return tensor

    def graph(self) -> Graph:
        """The graph with the weights that the network has by now, in the shapes that those have.

        Raises:
            ValueError: they do not fit each other.
        """
        constants = {name: Constant(_array(self._tensor(name))) for name in self._names}
        operators = []
        for op in self._form.operators:
            path = self._layers.get(op.output)
            layer = self.get_submodule(path) if path is not None else None
            if isinstance(layer, nn.Conv1d | nn.Conv2d):
                op = replace(op, attributes={**op.attributes, "group": layer.groups})
            operators.append(op)
        graph = replace(self._form, operators=tuple(operators), constants=constants)
        inputs = {name: self._form.values[name] for name in self._form.inputs}
        return replace(graph, values=shaped(graph, inputs))

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs' names and types, in order."""
        return {name: self._form.values[name].dtype for name in self._form.inputs}

    @property
    def takes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each input, without the batch."""
        return tuple(self._form.values[name].shape[1:] for name in self._form.inputs)

    def _place(self, path: str, module: nn.Module) -> None:
        place, _, name = path.rpartition(".")
        self._container(place).add_module(name, module)

    def _store(self, name: str, data: Array, *, is_trained: bool) -> None:
        place, _, attribute = name.rpartition(".")
        tensor = torch.empty(data.shape, dtype=getattr(torch, str(data.dtype)))
        owner = self._container(place)
        if is_trained and tensor.is_floating_point():
            owner.register_parameter(attribute, nn.Parameter(tensor))
        else:
            owner.register_buffer(attribute, tensor)
        if tensor.device.type != "meta":  # now that it was seen how large it is
            with torch.no_grad():
                getattr(owner, attribute).copy_(torch.from_numpy(np.array(data)))

    def _container(self, path: str) -> nn.Module:
        module: nn.Module = self
        for part in filter(None, path.split(".")):
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        return module


def build(graph: str) -> GraphNetwork:
    """The text of a graph -> its network, random where it is trained.

    Raises:
        ValueError: it is no graph, or its operators do not fit each other.
    """
    parsed, trained = parse_graph(graph)
    try:
        module = GraphNetwork(parsed, trained)
    except TooLargeError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"this is no graph of a network: {error!r}"[:MOST_SHOWN]) from None
    for name, parameter in module.named_parameters():
        if name in parsed.constants and parameter.device.type != "meta" and parameter.ndim > 1:
            bound = float(np.prod(parameter.shape[1:])) ** -0.5
            nn.init.uniform_(parameter, -bound, bound)
    return module


def layer_path(op: Operator) -> str | None:
    """Where the module of a layer is, with its tensors; None if it is no layer of PyTorch's."""
    tensors = LAYERS.get(op.kind, ())
    if not tensors or len(op.inputs) < 2 or len(op.inputs) - 1 > len(tensors):
        return None
    path, _, first = op.inputs[1].rpartition(".")
    wanted = tuple(f"{path}.{name}" for name, _ in zip(tensors, op.inputs[1:], strict=False))
    return path if path and first == tensors[0] and wanted == op.inputs[1:] else None


def _layer(op: Operator, constants: Mapping[str, Constant], rank: int) -> Layer:
    shape = constants[op.inputs[1]].data.shape
    a, has_bias = op.attributes, len(op.inputs) > 2
    if op.kind == "Gemm":
        rows, columns = shape
        return nn.Linear(columns, rows, bias=has_bias)
    if op.kind == "BatchNormalization":
        return NORMS[rank](shape[0], eps=a["epsilon"])
    axes = len(shape) - 2
    return (nn.Conv1d, nn.Conv2d)[axes - 1](
        shape[1] * a["group"],
        shape[0],
        tuple(shape[2:]),
        tuple(a["strides"]),
        tuple(a["pads"][:axes]),
        tuple(a["dilations"]),
        a["group"],
        bias=has_bias,
    )


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy().copy()
    return array


def plainly_named(graph: Graph, trained: Collection[str]) -> tuple[Graph, frozenset[str]]:
    """The same graph, and what training may move; every constant can be a tensor of a module.

    Those of layers are ``PATH.weight`` and so on: where they had no such names, the path is that
    of the module that they came from, or the operator's name.
    """
    names = _Names(graph)
    operators = []
    for op in graph.operators:
        tensors = LAYERS.get(op.kind, ())
        if tensors and all(name in graph.constants for name in op.inputs[1:]):
            names.take_layer(op, tensors)
        operators.append(op)
    for name in graph.constants:
        names.take(name)
    operators = [
        replace(op, inputs=tuple(names.new.get(name, name) for name in op.inputs))
        for op in operators
    ]
    constants = {names.new[name]: constant for name, constant in graph.constants.items()}
    renamed = replace(graph, operators=tuple(operators), constants=constants)
    return renamed, frozenset(names.new[name] for name in trained if name in names.new)


_PART = re.compile(r"weight_[a-z]")


class _Names:
    """Constants of a graph -> names of a module's tensors, no two alike, none inside another."""

    def __init__(self, graph: Graph) -> None:
        self.new: dict[str, str] = {}
        self.tensors: set[str] = set()
        self.layers: set[str] = set()  # modules that take no other tensors
        self.modules: set[str] = set()

    def take_layer(self, op: Operator, tensors: tuple[str, ...]) -> None:
        given = op.inputs[1:]
        path, _, first = given[0].rpartition(".")
        if any(name in self.new for name in given) or len({*given}) < len(given):
            return  # another layer's, which has the names
        if _PART.match(first) and self._fits(given[0]):
            return  # one of several matrices of a layer, such as weight_ih_l0
        if layer_path(op) is None or not self._fits(path):
            path = self._free(op.origin[0] if op.origin and op.origin[0] else op.name)
        self.layers.add(path)
        for name, tensor in zip(given, tensors, strict=False):
            self._set(name, f"{path}.{tensor}")

    def take(self, name: str) -> None:
        if name not in self.new:
            self._set(name, name if self._fits(name) else self._free(name))

    def _set(self, name: str, new: str) -> None:
        self.new[name] = new
        self.tensors.add(new)
        self.modules.update(_above(new))

    def _fits(self, path: str) -> bool:
        """Whether it can be the path of a new module or tensor."""
        above = {*_above(path)}
        if path in self.tensors or path in self.modules or above & (self.tensors | self.layers):
            return False
        return all(_is_plain(part) for part in path.split("."))

    def _free(self, wanted: str) -> str:
        parts = [re.sub(r"\W+", "_", part, flags=re.ASCII).strip("_") for part in wanted.split(".")]
        stem = ".".join(part if _is_plain(part) else f"{part}_" for part in parts if part) or "step"
        if self.layers & {*_above(stem)}:
            stem = stem.replace(".", "_")
        name, count = stem, 1
        while not self._fits(name):
            name, count = f"{stem}_{count}", count + 1
        return name


def _above(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _is_plain(part: str) -> bool:
    if not re.fullmatch(r"\w+", part, flags=re.ASCII) or keyword.iskeyword(part):
        return False
    return part not in _TAKEN


_TAKEN = frozenset(dir(GraphNetwork)) | vars(nn.Module()).keys()
