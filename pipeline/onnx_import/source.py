"""ONNX bytes -> one graph of fixed sizes: a batch of one, operator set 20, nothing left to fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.normalise import check_nodes, fix_sizes, parse_model, settled

QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
QUANTISED |= {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}

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
    return any(node.op_type in QUANTISED for node in parse_model(data, place).graph.node)


def read_source(data: bytes, *, place: str) -> Source:
    """Check ``data`` and bring it into one form.

    Raises:
        InputError: it is no whole ONNX file; has open sizes, control flow, rounded numbers, weights
            elsewhere, more than one input or output; is of an operator set that cannot be brought
            up. The sentence says what to do instead.
    """
    model = parse_model(data, place)
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
    fix_sizes(inputs[0], place, ranks=(3, 4))
    for size in model.graph.output[0].type.tensor_type.shape.dim:
        size.Clear()  # they follow from those of the input
    fixed = model.SerializeToString(deterministic=True)
    graph = settled(model, place).graph
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


def _check_nodes(model: onnx.ModelProto, place: str) -> None:
    for node in model.graph.node:
        if node.op_type in QUANTISED:
            raise InputError(
                f"{place}: {node.name or node.op_type} ({node.op_type}): the file is quantised "
                "already: give the float one, or make a bundle of it as it is with `edgeticket "
                "bundle`, or a TFLite file of it with `edgeticket convert`"
            )
    check_nodes(model, place)


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
