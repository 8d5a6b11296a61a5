"""ONNX bytes -> `Graph`. Everything about the file is checked here, so that writers need not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from device_runner.errors import InputError
from pipeline.convert.graph import (
    Array,
    Constant,
    Graph,
    Operator,
    Quantization,
    Value,
    is_redundant,
)

TAKES_CLAMP = frozenset({"Conv", "Gemm", "Add", "MaxPool", "AveragePool", "GlobalAveragePool"})
KEEPS_SCALE = frozenset({"MaxPool", "Flatten", "Clip"})


def read_graph(data: bytes) -> Graph:
    """Read and check an ONNX file with one input, one output, fixed shapes and a batch of one.

    Raises:
        InputError: the file is damaged, or holds something that cannot be converted.
    """
    model = _parse(data)
    draft = _Draft(
        shapes={v.name: _shape(v) for v in (*model.graph.input, *model.graph.value_info)},
        constants={t.name: Constant(_array(t)) for t in model.graph.initializer},
    )
    draft.shapes |= {v.name: _shape(v) for v in model.graph.output}
    for index, node in enumerate(model.graph.node):
        reader = READERS.get(node.op_type, _read_other)
        reader(draft, node, f"{node.name or f'node {index}'} ({node.op_type})")
    inputs = [v.name for v in model.graph.input if v.name not in draft.constants]
    source, target = _only(inputs, "input"), _only([v.name for v in model.graph.output], "output")
    if not draft.shapes[source] or draft.shapes[source][0] != 1:
        shape = list(draft.shapes[source])
        raise InputError(f"input {source} has shape {shape}; export with a batch of 1")
    return _finish(draft, source, target)


@dataclass
class _Draft:
    """What one walk over the nodes collects."""

    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Constant]
    scales: dict[str, Quantization] = field(default_factory=dict)  # by value before rounding
    origins: dict[str, str] = field(default_factory=dict)  # Q, DQ, Identity output -> value
    operators: list[Operator] = field(default_factory=list)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[self.origins.get(name, name)]

    def constant(self, node: onnx.NodeProto, index: int, label: str) -> Constant:
        """The constant at input ``index`` of ``node``."""
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.constants:
            raise InputError(f"{label}: its input {index} ({name!r}) must be a constant")
        return self.constants[name]


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except DecodeError:
        raise InputError(f"{len(data)} bytes are not a whole ONNX file; export it again") from None
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the ONNX file is not valid ({reason}); export it again") from None
    assert isinstance(inferred, onnx.ModelProto)
    return inferred


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dimensions = value.type.tensor_type.shape.dim
    if not all(d.HasField("dim_value") and d.dim_value > 0 for d in dimensions):
        shown = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions]
        raise InputError(f"{value.name} has shape {shown}; export with fixed sizes")
    return tuple(d.dim_value for d in dimensions)


def _array(tensor: onnx.TensorProto) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{tensor.name} lies in another file; export with the weights inside")
    array: Array = numpy_helper.to_array(tensor)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{tensor.name} holds NaN or infinity; check how it was trained")
    return array


def _only(names: Sequence[str], what: str) -> str:
    if len(names) != 1:
        raise InputError(f"the network has {len(names)} {what}s ({', '.join(names)}); one is needed")
    return names[0]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _read_other(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    if node.domain not in ("", "ai.onnx"):
        raise InputError(f"{label} is of {node.domain}; use standard ONNX operators only")
    if len(node.output) != 1:
        raise InputError(f"{label} has {len(node.output)} outputs; only one can be converted")
    missing = [n for n in (*node.input, *node.output) if n and n not in draft.constants]
    for name in missing:
        if draft.origins.get(name, name) not in draft.shapes:
            raise InputError(f"{label}: the shape of {name} is unknown; export with fixed sizes")
    draft.operators.append(
        Operator(
            name=node.name or node.output[0],
            kind=node.op_type,
            inputs=tuple(node.input),
            output=node.output[0],
            attributes=_attributes(node),
        )
    )


def _read_constant(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    (attribute,) = node.attribute
    if attribute.name != "value":
        raise InputError(f"{label}: {attribute.name} cannot be converted; give a tensor")
    draft.constants[node.output[0]] = Constant(_array(attribute.t))


def _read_identity(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    name = node.input[0]
    if name in draft.constants:
        draft.constants[node.output[0]] = draft.constants[name]
    else:
        draft.origins[node.output[0]] = draft.origins.get(name, name)


def _read_quantize(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    name, output = node.input[0], node.output[0]
    scale = np.asarray(draft.constant(node, 1, label).data)
    if scale.dtype != np.float32 or not (np.isfinite(scale) & (scale > 0)).all():
        raise InputError(f"{label}: scales must be positive float32; calibrate the network anew")
    zero_point = draft.constant(node, 2, label).data
    if zero_point.dtype != np.int8:
        raise InputError(f"{label}: codes are {zero_point.dtype}; quantise to int8")
    if name in draft.constants:
        draft.constants[output] = _fold(draft.constants[name], scale, zero_point, label)
        return
    if scale.size != 1:
        raise InputError(f"{label}: activations must have one scale for the whole tensor")
    quantization = Quantization(np.float32(scale.item()), int(zero_point.item()))
    value = draft.origins.get(name, name)
    if draft.scales.setdefault(value, quantization) != quantization:
        raise InputError(f"{label}: {value} is rounded twice, differently; round it once")
    draft.origins[output] = value


def _fold(weight: Constant, scale: Array, zero_point: Array, label: str) -> Constant:
    """Round float weights to codes −127..127 with one scale for each index of axis 0."""
    channels = weight.data.shape[0]
    if scale.size not in (1, channels) or zero_point.any():
        raise InputError(f"{label}: weights need a scale per output channel and zero points of 0")
    scales = np.broadcast_to(scale.reshape(-1), (channels,))
    column = scales.reshape(-1, *[1] * (weight.data.ndim - 1))
    codes = np.clip(np.rint(weight.data / column), -127, 127).astype(np.int8)
    return Constant(codes, np.ascontiguousarray(scales))


def _read_dequantize(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    name, output = node.input[0], node.output[0]
    if name in draft.constants:
        draft.constants[output] = draft.constants[name]
    elif name in draft.origins:
        draft.origins[output] = draft.origins[name]
    else:
        raise InputError(f"{label} does not follow a QuantizeLinear; convert the float-input file")


def _read_relu(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    _append_clip(draft, node, (0.0, math.inf))


def _read_clip(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    bounds = [-math.inf, math.inf]
    for index in (1, 2):
        if index < len(node.input) and node.input[index]:
            bounds[index - 1] = float(draft.constant(node, index, label).data)
    _append_clip(draft, node, (bounds[0], bounds[1]))


def _append_clip(draft: _Draft, node: onnx.NodeProto, clamp: tuple[float, float]) -> None:
    name, output = node.name or node.output[0], node.output[0]
    draft.operators.append(Operator(name, "Clip", (node.input[0],), output, clamp=clamp))


def _read_reshape(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    shape, target = draft.shape(node.input[0]), draft.shapes[node.output[0]]
    if target != (1, math.prod(shape)):
        raise InputError(
            f"{label} turns {list(shape)} into {list(target)}; "
            f"only flattening to [1, {math.prod(shape)}] can be converted"
        )
    name, output = node.name or node.output[0], node.output[0]
    draft.operators.append(Operator(name, "Flatten", (node.input[0],), output))


def _read_mean(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    rank = len(draft.shape(node.input[0]))
    axes = sorted(int(a) % rank for a in draft.constant(node, 1, label).data)
    if axes != [2, 3] or rank != 4:
        raise InputError(
            f"{label} averages axes {axes} of {rank}; only the mean over height and width "
            "of [1, C, H, W] can be converted"
        )
    name, output = node.name or node.output[0], node.output[0]
    draft.operators.append(Operator(name, "GlobalAveragePool", (node.input[0],), output))


def _read_gemm(draft: _Draft, node: onnx.NodeProto, label: str) -> None:
    given = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | _attributes(node)
    if given != {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}:
        raise InputError(f"{label} has {given}; only x·Wᵀ + b (transB = 1) can be converted")
    _read_other(draft, node, label)


def _finish(draft: _Draft, source: str, target: str) -> Graph:
    operators = _fuse_clamps(draft, target)
    raw = [(op, name) for op in operators for name in op.inputs] + [(target, target)]
    for reader, name in raw:
        if name in draft.scales:
            raise InputError(f"{reader} reads {name} before it is rounded; let it read the rounded")
    final = draft.origins.get(target, target)
    names = {final: target}

    def resolve(name: str) -> str:
        value = draft.origins.get(name, name)
        return names.get(value, value)

    resolved = [
        replace(op, inputs=tuple(map(resolve, op.inputs)), output=resolve(op.output))
        for op in operators
    ]
    scales = {resolve(name): quantization for name, quantization in draft.scales.items()}
    shapes = {resolve(name): shape for name, shape in draft.shapes.items()}
    values = {source: Value(source, shapes[source], scales.get(source))}
    for i, op in enumerate(resolved):
        values[op.output] = value = _value(op, values, shapes[op.output], scales)
        if op.clamp and value.quantization and is_redundant(op.clamp, value.quantization):
            resolved[i] = replace(op, clamp=None)
    used = {name for op in resolved for name in op.inputs}
    constants = {name: c for name, c in draft.constants.items() if name in used}
    return Graph(source, target, tuple(resolved), values, constants)


def _value(
    op: Operator,
    values: dict[str, Value],
    shape: tuple[int, ...],
    scales: dict[str, Quantization],
) -> Value:
    """The output of ``op``: either all values of a graph have a scale, or none."""
    first = values[op.inputs[0]].quantization
    quantization = scales.get(op.output, first if op.kind in KEEPS_SCALE else None)
    if (first is None) != (quantization is None):
        raise InputError(f"{op}: its input or output is not rounded; quantise the whole network")
    if op.kind in KEEPS_SCALE and quantization != first:
        raise InputError(f"{op} changes the scale, which it cannot; let its output keep it")
    return Value(op.output, shape, quantization)


def _fuse_clamps(draft: _Draft, target: str) -> list[Operator]:
    """Let an operator clip its own output, where a Clip is all that reads it."""
    readers = Counter(name for op in draft.operators for name in op.inputs)
    readers.update([target, *draft.scales])
    fused: dict[str, Operator] = {}  # by output, in order
    for op in draft.operators:
        producer = fused.get(op.inputs[0])
        if (
            op.kind == "Clip"
            and producer is not None
            and producer.kind in TAKES_CLAMP
            and producer.clamp is None
            and readers[producer.output] == 1
        ):
            del fused[producer.output]
            fused[op.output] = replace(producer, output=op.output, clamp=op.clamp)
        else:
            fused[op.output] = op
    return list(fused.values())


Reader = Callable[[_Draft, onnx.NodeProto, str], None]

READERS: dict[str, Reader] = {
    "Clip": _read_clip,
    "Constant": _read_constant,
    "DequantizeLinear": _read_dequantize,
    "Dropout": _read_identity,
    "Flatten": _read_reshape,
    "Gemm": _read_gemm,
    "Identity": _read_identity,
    "QuantizeLinear": _read_quantize,
    "ReduceMean": _read_mean,
    "Relu": _read_relu,
    "Reshape": _read_reshape,
}
