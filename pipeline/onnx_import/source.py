"""ONNX bytes -> one graph of fixed sizes: a batch of one, operator set 20, nothing left to fold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, version_converter

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.external.onnx_model import parse_onnx, validate_onnx
from edgeticket.pipeline.graph.graph import OPSET

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
QUANTISED |= {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
UNLIKELY = 65536  # a size that is a mistake, or an attack

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Source:
    """A graph that was checked."""

    data: bytes  # the file with a batch of one, for the comparison with a runtime
    nodes: tuple[onnx.NodeProto, ...]
    constants: Mapping[str, Array]  # by name; real numbers are finite float32
    shapes: Mapping[str, tuple[int, ...]]  # of all other values
    input: str
    output: str


def is_quantized(data: bytes, *, place: str) -> bool:
    """Whether an ONNX file holds rounded numbers.

    Raises:
        InputError: it is no whole ONNX file.
    """
    return any(node.op_type in QUANTISED for node in _parse(data, place).graph.node)


def read_source(data: bytes, *, place: str) -> Source:
    """Check ``data`` and bring it into one form.

    Raises:
        InputError: it is no whole ONNX file; has open sizes, control flow, rounded numbers, weights
            elsewhere, more than one input or output; is of an operator set that cannot be brought
            up. The sentence says what to do instead.
    """
    model = _parse(data, place)
    constants = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise InputError(
            f"{place} has {len(inputs)} inputs and {len(model.graph.output)} outputs: export it "
            "with one of each"
        )
    code = inputs[0].type.tensor_type.elem_type
    if code != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(code).lower()
        raise InputError(f"{place}: its input is {name}: export the network in float32")
    _check_nodes(model, place)
    _fix_sizes(inputs[0], place)
    for size in model.graph.output[0].type.tensor_type.shape.dim:
        size.Clear()  # they follow from those of the input
    fixed = model.SerializeToString(deterministic=True)
    graph = _settled(model, place).graph
    arrays = {t.name: _array(t, place) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            arrays[node.output[0]] = _array(node.attribute[0].t, place)
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    nodes = tuple(node for node in graph.node if node.op_type != "Constant")
    for node in nodes:
        for name in node.output:
            if name and not (name in shapes and all(shapes[name])):
                raise InputError(
                    f"{place}: the shape of {name}, which {node.name or node.op_type} "
                    f"({node.op_type}) makes, is not fixed: export it with fixed sizes"
                )
    return Source(fixed, nodes, arrays, shapes, inputs[0].name, graph.output[0].name)


def _parse(data: bytes, place: str) -> onnx.ModelProto:
    model = parse_onnx(data, place=place)
    validate_onnx(model, place=place)
    return model


def _check_nodes(model: onnx.ModelProto, place: str) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        label = f"{place}: {node.name or node.op_type} ({node.op_type})"
        if node.op_type in CONTROL_FLOW:
            raise InputError(
                f"{label} is control flow, which runtimes on devices do not have: export it "
                "traced, without branches and loops"
            )
        if node.op_type in QUANTISED:
            raise InputError(
                f"{label}: the file is quantised already: give the float one, or make a bundle of "
                "it as it is with `edgeticket bundle`"
            )
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in functions:
            raise InputError(
                f"{label} is of {node.domain}, which only some runtimes have: export it with "
                "standard ONNX operators, and not optimised for one runtime"
            )


def _fix_sizes(value: onnx.ValueInfoProto, place: str) -> None:
    """An open batch becomes 1."""
    sizes = value.type.tensor_type.shape.dim
    for i, size in enumerate(sizes):
        is_open = not size.HasField("dim_value") or size.dim_value <= 0
        if i == 0 and (is_open or size.dim_value == 1):
            size.dim_value = 1
        elif i == 0:
            raise InputError(
                f"{place}: its input {value.name} takes {size.dim_value} examples at a time: "
                "export it with a batch of 1, or an open one"
            )
        elif is_open:
            raise InputError(
                f"{place}: its input {value.name} leaves size {i} open "
                f"({size.dim_param or '?'}): export it with that size fixed; only the batch may be "
                "open"
            )
        elif size.dim_value > UNLIKELY:
            raise InputError(f"{place}: its input has a side of {size.dim_value}: export it again")
    if len(sizes) not in (3, 4):
        raise InputError(
            f"{place}: its input {value.name} has {len(sizes)} axes: give a network that takes "
            "[N, C, H, W] or [N, C, T]"
        )


def _settled(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """In one operator set, all sizes known, and what follows from sizes alone computed."""
    from onnxscript import optimizer

    (version,) = (e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
    del model.graph.value_info[:]
    try:
        if version < OPSET:
            model = version_converter.convert_version(model, OPSET)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        model = optimizer.optimize(model)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # the three raise whatever they meet
        told = " ".join(str(error).split())[:300]
        raise InputError(
            f"{place}: operator set {version} cannot be brought into the form of {OPSET} ({told}): "
            f"export it with operator set {OPSET}"
        ) from None
    for value in (*model.graph.value_info, *model.graph.output):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if math.prod(sizes) > 2**31 - 1:
            raise InputError(f"{place}: {value.name} has shape {sizes}, which no device holds")
    return model


def _array(tensor: onnx.TensorProto, place: str) -> Array:
    """Real numbers as float32."""
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{place}: {tensor.name} cannot be read ({error}): export again") from None
    if array.dtype.kind == "f" or array.dtype.name in ("bfloat16", "float16"):
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise InputError(
                f"{place}: {tensor.name} holds NaN or infinity: the training diverged, or the file "
                "is damaged; give another"
            )
    return array
