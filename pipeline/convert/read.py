"""ONNX bytes -> `Graph`. Everything about the file is checked here, so that nobody else need."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.normalise import parse_model
from edgeticket.pipeline.convert.onnx_names import Called, called
from edgeticket.pipeline.convert.onnx_rules import MOST_NUMBERS, OnnxRules, is_computable
from edgeticket.pipeline.convert.settle import settled
from edgeticket.pipeline.graph.draft import BatchSize, Coded, Draft
from edgeticket.pipeline.graph.graph import OPSET, Array, Constant, Graph
from edgeticket.pipeline.operators import KINDS, ONNX

PLACE = "the ONNX file"
UNREADABLE = (
    *(KeyError, IndexError, TypeError, ValueError, OverflowError, ZeroDivisionError),
    *(AttributeError, MemoryError),
)
TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int64",
}
CODES = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})
# What only moves numbers: of a stored tensor of codes it makes one of codes.
MOVING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
EXACT = 2**24  # whole numbers up to here are float32


@functools.lru_cache(maxsize=2)  # one network becomes several files: of its fp32 and int8 export
def read_graph(data: bytes) -> Graph:
    """Read and check an ONNX file with fixed shapes and a batch of one.

    What QuantizeLinear and DequantizeLinear say is in the graph's values and constants; they
    themselves are gone.

    Raises:
        InputError: the file is damaged, or holds something that cannot be converted.
    """
    model = parse_model(data, PLACE)
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if versions != [OPSET]:
        raise InputError(f"the ONNX file is of operator set {versions}; export with {OPSET}")
    return graph_of(model)


@dataclass(frozen=True)
class FloatFile:
    """What a float32 file is.

    graph: its operators are called after the modules that it was exported from, where it says so.
    trained: the constants that training may move.
    data: the file with a batch of one.
    """

    graph: Graph
    trained: frozenset[str]
    data: bytes


def read_float(data: bytes, *, place: str) -> FloatFile:
    """Read and check a float32 ONNX file of any operator set; an open batch becomes one.

    Raises:
        InputError: the file is damaged, or holds something that cannot be converted.
    """
    model = parse_model(data, place)
    names = called(model.graph)
    model, fixed = settled(model, place=place)
    with placed(place):
        graph = graph_of(model, names)
    numbers = {name for name, constant in graph.constants.items() if _may_be_trained(constant)}
    return FloatFile(graph, frozenset(numbers), fixed)


def _may_be_trained(constant: Constant) -> bool:
    """A file does not say it; weights are real, and more than a number."""
    return constant.data.dtype == np.float32 and constant.data.size > 1


@contextlib.contextmanager
def placed(place: str) -> Iterator[None]:
    """Sentences begin with the place."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def graph_of(model: onnx.ModelProto, names: Mapping[str, Called] = MappingProxyType({})) -> Graph:
    """A checked model of fixed sizes and of operator set `OPSET` -> its graph.

    Args:
        names: what operators shall be called, by the first output of a node.

    Raises:
        InputError: it holds something that cannot be converted.
    """
    reading = _Reading(names)
    for tensor in model.graph.initializer:
        reading.store(tensor.name, read_array(tensor))
    inputs = [value for value in model.graph.input if value.name not in reading.names]
    for value in inputs:
        reading.flow(value)
    for index, node in enumerate(model.graph.node):
        reading.read(node, f"{node.name or f'node {index}'} ({node.op_type})")
    reading.check_scales()
    outputs = [reading.output(value.name) for value in model.graph.output]
    graph = reading.draft.finish([value.name for value in inputs], outputs)
    if names and len(outputs) == 1:
        return graph  # every file calls it "output"
    return _named(graph, model)


class _Reading:
    """A walk over the nodes of an ONNX file."""

    def __init__(self, called: Mapping[str, Called]) -> None:
        self.draft, self.rules, self.called = Draft(KINDS), OnnxRules(), called
        self.names: dict[str, Any] = {"": ""}  # ONNX value -> name in the draft, or None

    def store(self, name: str, array: Array) -> None:
        """A tensor of the file, or one that was computed from those."""
        self.rules.store(name, array)
        self.names[name] = self.draft.constant(array, name)

    def flow(self, value: onnx.ValueInfoProto) -> None:
        """An input of the network."""
        shape, code = _shape(value), value.type.tensor_type.elem_type
        if not shape or shape[0] != 1:
            raise InputError(
                f"input {value.name} has shape {list(shape)}; export with a batch of 1"
            )
        self.names[value.name] = value.name
        self.draft.shapes[value.name] = (BatchSize(1), *shape[1:])
        self.rules.flow(value.name, code, shape)
        if code in CODES:
            self.draft.inputs_of_codes.add(value.name)
        elif code not in TYPES:
            raise InputError(f"input {value.name} is not float32; give the file as it was exported")
        elif TYPES[code] != "float32":
            self.draft.dtypes[value.name] = TYPES[code]

    def read(self, node: onnx.NodeProto, label: str) -> None:
        """One node, which becomes operators, or constants."""
        self.draft.label = label
        if node.domain not in ("", "ai.onnx"):
            raise InputError(f"{label} is of {node.domain}; use standard ONNX operators only")
        unknown = [name for name in node.input if self.names.get(name) is None]
        if unknown:
            raise self.draft.refuse(f"reads {unknown[0]}, which cannot be converted; leave it out")
        self.rules.infer(node, label)
        if node.op_type not in ROUNDING and is_computable(node) and self._is_stored(node):
            self._compute(node, label)
            return
        reader = ONNX.get(node.op_type)
        if reader is None:
            raise InputError(
                f"{label} has no counterpart here; replace it by one of {', '.join(sorted(ONNX))}; "
                "or make a bundle of the file as it is with `edgeticket bundle`"
            )
        self._call(node)
        try:
            sources = [self.names[name] for name in node.input]
            found = reader(self.draft, *sources, **attributes(node))
        except UNREADABLE as error:  # ONNX's own checker does not look at values
            raise InputError(
                f"{label} is not as ONNX defines it ({type(error).__name__}: {error}); "
                "export it again"
            ) from None
        results = [found] if isinstance(found, str) else list(found)
        results += [None] * (len(node.output) - len(results))  # what cannot be had
        for name, result in zip(node.output, results, strict=False):  # nor all that nobody wants
            if name:
                self._take(node, name, result)

    def _call(self, node: onnx.NodeProto) -> None:
        """What is made of a node is called."""
        draft, name = self.draft, self.called.get(node.output[0])
        if name is None:
            draft.step = draft.unique(node.name or node.output[0])
            draft.result, draft.origin = draft.unique(node.output[0]), ()
        else:
            draft.step = draft.result = draft.unique(name.step)
            draft.origin = (name.module, name.norm, name.node)

    def _is_stored(self, node: onnx.NodeProto) -> bool:
        return all(not name or self.names[name] in self.draft.constants for name in node.input)

    def _compute(self, node: onnx.NodeProto, label: str) -> None:
        """Store what a node makes of stored tensors."""
        constants = self.draft.constants
        arrays = {name: constants[self.names[name]].data for name in node.input if name}
        coded = self._moved(node, label, arrays)
        for name, array in self.rules.compute(node, label, arrays).items():
            self.store(name, as_float32(array, f"{name}, which {label} makes,"))
            if coded is not None:
                self.draft.coded[self.names[name]] = coded

    def _moved(self, node: onnx.NodeProto, label: str, arrays: Mapping[str, Array]) -> Coded | None:
        """The codes of what a node makes of a stored tensor of codes, if it only moves them."""
        source = node.input[0] if node.op_type in MOVING else ""
        before = self.draft.coded.get(self.names[source])
        if before is None or np.abs(before.codes).max(initial=0) > EXACT:
            return None
        scale = np.array(np.broadcast_to(before.scale, before.codes.shape))
        moved = [
            next(iter(self.rules.compute(node, label, {**arrays, source: data}).values()))
            for data in (before.codes.astype(np.float32), scale)
        ]
        return Coded(moved[0].astype(np.int32), moved[1])

    def _take(self, node: onnx.NodeProto, name: str, result: str | None) -> None:
        """Note an output; what it is here must be what ONNX says."""
        self.names[name] = result
        if result is None:
            return
        draft, shape, dtype = self.draft, self.rules.shape(name), self.rules.dtype(name)
        if node.op_type not in ROUNDING and dtype not in ("", draft.dtype(result)):
            raise draft.refuse(
                f"computes {dtype} numbers, which cannot be written; let it compute in float32"
            )
        if shape not in (None, tuple(draft.shape(result))):
            raise draft.refuse(
                f"makes {list(draft.shape(result))} here, but {list(shape or ())} by ONNX; use "
                "another form of it"
            )

    def output(self, name: str) -> str:
        """What an output of the network is in the draft."""
        found = self.names.get(name)
        if not isinstance(found, str) or found in self.draft.constants:
            raise InputError(f"output {name} does not follow from the input; leave it out")
        return found

    def check_scales(self) -> None:
        """Refuse codes that go in and that nothing says the scale of."""
        for name in sorted(self.draft.inputs_of_codes - self.draft.scales.keys()):
            raise InputError(f"input {name} is codes without a scale; let DequantizeLinear read it")


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node as values of Python, texts as text."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def _named(graph: Graph, model: onnx.ModelProto) -> Graph:
    """The finished graph, its outputs called as in the file."""
    renamed: dict[str, str] = {}
    for name, value in zip(graph.outputs, model.graph.output, strict=True):
        if name in renamed or name in graph.inputs:
            raise InputError(f"output {value.name} is an input, or another output; leave it out")
        renamed[name] = value.name
    if len({op.name for op in graph.operators}) < len(graph.operators):
        raise InputError("operators of the ONNX file share a name; name each of them")
    return rename(graph, {old: new for old, new in renamed.items() if old != new})


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The same graph with values called otherwise; whoever has the new name already gives way."""
    taken = set(names.values()) & graph.values.keys() - names.keys()
    names = {**names, **{name: f"{name}.inner" for name in taken}}

    def new(name: str) -> str:
        return names.get(name, name)

    operators = [
        replace(op, inputs=tuple(map(new, op.inputs)), output=new(op.output))
        for op in graph.operators
    ]
    return replace(
        graph,
        inputs=tuple(map(new, graph.inputs)),
        outputs=tuple(map(new, graph.outputs)),
        operators=tuple(operators),
        values={new(n): replace(v, name=new(n)) for n, v in graph.values.items()},
    )


def read_array(tensor: onnx.TensorProto) -> Array:
    """The numbers of a stored tensor; real ones are finite float32."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{tensor.name} lies in another file; export with the weights inside")
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{tensor.name} cannot be read ({error}); export it again") from None
    array = as_float32(array, tensor.name)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(
            f"{tensor.name} holds NaN or infinity: the training diverged, or the file is damaged; "
            "give another"
        )
    return array


def as_float32(array: Array, place: str) -> Array:
    """Real numbers as they are, whole ones and truth values too; others are refused."""
    if array.dtype.kind not in "iub" and array.dtype != np.float32:
        raise InputError(f"{place} is {array.dtype}; store numbers as float32")
    return array


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dimensions = value.type.tensor_type.shape.dim
    if not all(d.HasField("dim_value") and d.dim_value > 0 for d in dimensions):
        shown = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions]
        raise InputError(f"{value.name} has shape {shown}; export with fixed sizes")
    shape = tuple(d.dim_value for d in dimensions)
    if math.prod(shape) > MOST_NUMBERS:
        raise InputError(f"{value.name} has shape {list(shape)}, which no device holds")
    return shape
