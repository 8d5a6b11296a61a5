"""Float32 ONNX files of many forms -> one: a batch of one, fixed sizes, one operator set."""

from __future__ import annotations

import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.gelu import fuse_gelu
from edgeticket.pipeline.convert.normalise import check_nodes, fix_ends, in_one_form, parse_model

QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
QUANTISED |= {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
TAKEN = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32)


def is_quantized(data: bytes, *, place: str) -> bool:
    """Whether an ONNX file holds rounded numbers.

    Raises:
        InputError: it is no whole ONNX file.
    """
    return any(node.op_type in QUANTISED for node in parse_model(data, place).graph.node)


def settled(model: onnx.ModelProto, *, place: str) -> tuple[onnx.ModelProto, bytes]:
    """Check a float32 file that was parsed, and bring it into one form.

    Returns:
        A model of fixed sizes, a batch of one and operator set `OPSET`, with nothing left to
        compute that follows from sizes; and the file with a batch of one, as it was otherwise.

    Raises:
        InputError: it has open sizes, control flow, rounded numbers; is of an operator set that
            cannot be brought up. The sentence says what to do instead.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in constants]
    if not inputs:
        raise InputError(f"{place} has no inputs: export the network with one")
    _expect_float(model, place)
    check_nodes(model, place)
    for value in inputs:
        code = value.type.tensor_type.elem_type
        if code not in TAKEN:
            name = onnx.TensorProto.DataType.Name(code).lower()
            raise InputError(f"{place}: its input is {name}: export the network in float32")
    fix_ends(model, place)
    fixed: bytes = model.SerializeToString(deterministic=True)
    model = in_one_form(model, place)
    fuse_gelu(model.graph)
    return model, fixed


def _expect_float(model: onnx.ModelProto, place: str) -> None:
    for node in model.graph.node:
        if node.op_type in QUANTISED:
            raise InputError(
                f"{place}: {node.name or node.op_type} ({node.op_type}): the file is quantised "
                "already: give the float one, or make a bundle of it as it is with `edgeticket "
                "bundle`, or a TFLite file of it with `edgeticket convert`"
            )
