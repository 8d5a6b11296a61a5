"""ONNX bytes -> `Graph`. Everything about the file is checked here, so that writers need not."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.fuse import fuse
from edgeticket.pipeline.convert.graph import (
    FUSIBLE,
    OPSET,
    Constant,
    Graph,
    Operator,
    Quantization,
    Value,
    is_redundant,
)
from edgeticket.pipeline.convert.lift import lift_1d
from edgeticket.pipeline.convert.linear_bias import fuse_biases
from edgeticket.pipeline.convert.operators import (
    KINDS,
    READERS,
    Draft,
    Substitution,
    read_array,
    read_other,
)
from edgeticket.pipeline.convert.qdq_insertion import is_integer, separate_domains
from edgeticket.pipeline.external.onnx_model import parse_onnx, validate_onnx

PLACE = "the ONNX file"
MOST_NUMBERS = 2**31 - 1  # TFLite counts in int32
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, OverflowError, ZeroDivisionError)


@functools.lru_cache(maxsize=2)  # one network becomes several files: of its fp32 and int8 export
def read_graph(data: bytes) -> Graph:
    """Read and check an ONNX file with one input, one output, fixed shapes and a batch of one.

    Raises:
        InputError: the file is damaged, or holds something that cannot be converted.
    """
    model = _parse(data)
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if versions != [OPSET]:
        raise InputError(f"the ONNX file is of operator set {versions}; export with {OPSET}")
    draft = Draft(
        shapes={v.name: _shape(v) for v in (*model.graph.input, *model.graph.value_info)},
        constants={t.name: Constant(read_array(t)) for t in model.graph.initializer},
    )
    draft.shapes |= {v.name: _shape(v) for v in model.graph.output}
    for index, node in enumerate(model.graph.node):
        reader = READERS.get(node.op_type, read_other)
        label = f"{node.name or f'node {index}'} ({node.op_type})"
        try:
            reader(draft, node, label)
        except UNREADABLE as error:  # ONNX's own checker does not look at values
            raise InputError(
                f"{label} is not as ONNX defines it ({type(error).__name__}: {error}); "
                "export it again"
            ) from None
    inputs = [v.name for v in model.graph.input if v.name not in draft.constants]
    source, target = _only(inputs, "input"), _only([v.name for v in model.graph.output], "output")
    if not draft.shapes[source] or draft.shapes[source][0] != 1:
        shape = list(draft.shapes[source])
        raise InputError(f"input {source} has shape {shape}; export with a batch of 1")
    (value,) = (v for v in model.graph.input if v.name == source)
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise InputError(f"input {source} is not float32; give the file as it was exported")
    return _finish(draft, source, target)


def _parse(data: bytes) -> onnx.ModelProto:
    model = parse_onnx(data, place=PLACE)
    validate_onnx(model, place=PLACE)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{PLACE} is not valid ONNX ({reason}): export it again") from None
    assert isinstance(inferred, onnx.ModelProto)
    return inferred


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dimensions = value.type.tensor_type.shape.dim
    if not all(d.HasField("dim_value") and d.dim_value > 0 for d in dimensions):
        shown = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions]
        raise InputError(f"{value.name} has shape {shown}; export with fixed sizes")
    shape = tuple(d.dim_value for d in dimensions)
    if math.prod(shape) > MOST_NUMBERS:
        raise InputError(f"{value.name} has shape {list(shape)}, which no device holds")
    return shape


def _only(names: Sequence[str], what: str) -> str:
    if len(names) != 1:
        raise InputError(
            f"the network has {len(names)} {what}s ({', '.join(names)}); one is needed"
        )
    return names[0]


def _finish(draft: Draft, source: str, target: str) -> Graph:
    draft.operators = fuse_biases(draft, [target, *draft.scales])
    operators = fuse(draft.operators, _all_shapes(draft), [target, *draft.scales])
    for reader, name in [(op, n) for op in operators for n in op.inputs] + [("output", target)]:
        if name in draft.scales:
            raise InputError(f"{reader} reads {name} before it is rounded; let it read the rounded")
    # The value that the last QuantizeLinear rounds becomes the output itself.
    final = draft.origins.get(target, target)

    def resolve(name: str) -> str:
        value = draft.origins.get(name, name)
        return target if value == final else value

    scales = {resolve(name): quantization for name, quantization in draft.scales.items()}
    shapes = {resolve(name): shape for name, shape in draft.shapes.items()}
    values = {source: Value(source, shapes[source], scales.get(source))}
    constants = dict(draft.constants)
    settled: list[Operator] = []
    for raw in operators:
        op = replace(raw, inputs=tuple(map(resolve, raw.inputs)), output=resolve(raw.output))
        output = values[op.output] = _value(op, values, shapes[op.output], scales, constants)
        stands = Substitution((op,), {})
        kind = KINDS.get(op.kind)
        if kind and kind.rounded and is_integer(op, values, constants):
            stands = kind.rounded(op, values[op.inputs[0]], output)
        constants |= stands.constants
        values |= {value.name: value for value in stands.values}
        for step in stands.operators:
            clipped, free = _settle_clamp(step, values[step.output])
            settled += clipped
            values |= {value.name: value for value in free}
    if len({op.name for op in settled}) < len(settled):
        raise InputError("operators of the ONNX file share a name; name each of them")
    used = {name for op in settled for name in op.inputs}
    used_constants = {n: c for n, c in constants.items() if n in used}
    graph = Graph(source, target, tuple(settled), values, used_constants)
    return separate_domains(lift_1d(graph))


def _all_shapes(draft: Draft) -> dict[str, tuple[int, ...]]:
    """Also of values that are there under another name: behind Q, DQ and Identity."""
    return draft.shapes | {name: draft.shape(name) for name in draft.origins}


def _value(
    op: Operator,
    values: dict[str, Value],
    shape: tuple[int, ...],
    scales: dict[str, Quantization],
    constants: dict[str, Constant],
) -> Value:
    """The output of ``op``, with a scale if it is rounded."""
    sources = [values[name].quantization for name in op.inputs if name in values]
    kind = KINDS.get(op.kind)
    keeps = kind is not None and kind.keeps_codes
    quantization = scales.get(op.output, sources[0] if keeps else None)
    coded = any(name in constants and constants[name].scale is not None for name in op.inputs)
    if coded and None in (*sources, quantization):
        raise InputError(f"{op} has int8 weights, but its input or output is not rounded")
    if keeps and any(source != quantization for source in sources):
        raise InputError(f"{op} changes the scale, which it cannot; let all its tensors share one")
    return Value(op.output, shape, quantization)


def _settle_clamp(op: Operator, output: Value) -> tuple[list[Operator], list[Value]]:
    """Leave clipping to saturation, or to the operator if it can, or to a Clip behind it."""
    if op.kind == "Clip" or op.clamp is None:
        return [op], []
    if output.quantization and is_redundant(op.clamp, output.quantization):
        return [replace(op, clamp=None)], []
    if op.clamp in FUSIBLE:
        return [op], []
    free = replace(output, name=f"{op.name}.free")
    clip = Operator(f"{op.name}.clip", "Clip", (free.name,), op.output, clamp=op.clamp)
    return [replace(op, output=free.name, clamp=None), clip], [free]
