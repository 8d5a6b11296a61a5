"""Float32 ONNX files of many forms -> one: a batch of one, fixed sizes, one operator set."""

from __future__ import annotations

import onnx
from onnx import version_converter

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.gelu import fuse_gelu
from edgeticket.pipeline.external.onnx_model import parse_onnx, validate_onnx
from edgeticket.pipeline.graph.graph import OPSET

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
QUANTISED |= {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
UNLIKELY = 65536  # a size that is a mistake, or an attack
TAKEN = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32)


def is_quantized(data: bytes, *, place: str) -> bool:
    """Whether an ONNX file holds rounded numbers.

    Raises:
        InputError: it is no whole ONNX file.
    """
    return any(node.op_type in QUANTISED for node in _parse(data, place).graph.node)


def settled(data: bytes, *, place: str) -> tuple[onnx.ModelProto, bytes]:
    """Check a float32 file and bring it into one form.

    Returns:
        A model of fixed sizes, a batch of one and operator set `OPSET`, with nothing left to
        compute that follows from sizes; and the file with a batch of one, as it was otherwise.

    Raises:
        InputError: it is no whole ONNX file; has open sizes, control flow, rounded numbers, weights
            elsewhere; is of an operator set that cannot be brought up. The sentence says what to
            do instead.
    """
    model = _parse(data, place)
    constants = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in constants]
    if not inputs:
        raise InputError(f"{place} has no inputs: export the network with one")
    for value in [v for v in model.graph.input if v.name in constants]:
        model.graph.input.remove(value)  # older exporters list the weights among them
    _check_nodes(model, place)
    for value in model.graph.input:
        code = value.type.tensor_type.elem_type
        if code not in TAKEN:
            name = onnx.TensorProto.DataType.Name(code).lower()
            raise InputError(f"{place}: its input is {name}: export the network in float32")
        _fix_sizes(value, place)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")  # it follows from those of the inputs
    fixed: bytes = model.SerializeToString(deterministic=True)
    return _in_one_form(model, place), fixed


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
    if not sizes:
        raise InputError(f"{place}: its input {value.name} has no batch: export it with one")


def _in_one_form(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """In one operator set, all sizes known, and what follows from sizes alone computed."""
    from onnxscript import optimizer

    (version,) = (e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
    del model.graph.value_info[:]
    try:
        if version != OPSET:
            model = version_converter.convert_version(model, OPSET)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        model = optimizer.optimize(model)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # the three raise whatever they meet
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{place}: operator set {version} cannot be brought into the form of {OPSET} "
            f"({reason}): export it with operator set {OPSET}"
        ) from None
    fuse_gelu(model.graph)
    return model
