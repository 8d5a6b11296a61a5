"""Model files that other tools made: what they take and give, read from the files themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from device_runner.errors import InputError
from device_runner.manifest import CODE_RANGES, TensorSpec
from device_runner.runtimes import get_runtime
from device_runner.runtimes.session import Port

LAYOUTS = ("NCHW", "NHWC", "NCW", "NWC", "NC")
DTYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.FLOAT16: "float16",
}
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
QUANTISED = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "ConvInteger", "MatMulInteger")

# ONNX operators: which input is the weight of what is multiplied and added up.
WEIGHTS = {"Conv": 1, "Gemm": 1, "MatMul": 1, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
WEIGHTS |= {"ConvInteger": 1, "MatMulInteger": 1}
# Where a node has scale and zero point of what it reads, or of what it makes.
READS = {"DequantizeLinear": 1, "QLinearConv": 1, "QLinearMatMul": 1, "QGemm": 1}
MAKES = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6}
MAKES |= {"QLinearGlobalAveragePool": 3, "QLinearSoftmax": 3, "QLinearSigmoid": 3}


@dataclass(frozen=True)
class Foreign:
    """A model file that a runtime here loads; the batch is fixed to 1."""

    data: bytes
    runtime: str
    precision: str
    input: TensorSpec
    output: TensorSpec
    parameters: int
    macs: int


def read_foreign(file: Path, *, sample: Sequence[int], layout: str | None = None) -> Foreign:
    """A .onnx or .tflite file -> what a bundle says of it.

    Args:
        file: the model.
        sample: shape of one sample, channels last; tells the model's layout.
        layout: of the input, where the shapes do not tell.

    Raises:
        InputError: another kind of file, damaged, or one that a bundle cannot hold.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    if file.suffix not in READERS:
        raise InputError(f"{file}: give a file that ends in {' or '.join(READERS)}")
    return READERS[file.suffix](data, sample, layout, str(file))


def _read_onnx(data: bytes, sample: Sequence[int], layout: str | None, place: str) -> Foreign:
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        told = " ".join(str(error).split())
        raise InputError(f"{place} is no whole ONNX file ({told}): export it again") from None
    graph = model.graph
    constants = {t.name: t for t in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise InputError(
            f"{place} has {len(inputs)} inputs and {len(graph.output)} outputs: export it with one "
            "of each"
        )
    for node in graph.node:
        if node.op_type in CONTROL_FLOW:
            raise InputError(
                f"{place}: {node.name or node.op_type} ({node.op_type}) is control flow, which "
                "runtimes on devices do not have: export it traced, without branches and loops"
            )
    for value, what in ((inputs[0], "input"), (graph.output[0], "output")):
        code = value.type.tensor_type.elem_type
        _check_dtype(DTYPES.get(code, f"of ONNX's type {code}"), f"{place}: the {what}")
    if _fix_batch([inputs[0], graph.output[0]], place):
        del graph.value_info[:]
        data = model.SerializeToString(deterministic=True)
    session = get_runtime("ort").load(data, threads=1, place=place)
    reader = next((n for n in graph.node if inputs[0].name in n.input), None)
    maker = next((n for n in graph.node if graph.output[0].name in n.output), None)
    source = _spec(
        *(inputs[0].name, session.input, _onnx_scale(reader, READS, constants), layout, sample),
        place=f"{place}: the input",
    )
    target = _spec(
        *(graph.output[0].name, session.output, _onnx_scale(maker, MAKES, constants), "NC", None),
        place=f"{place}: the output",
    )
    parameters, macs = _onnx_cost(model, constants)
    quantised = any(node.op_type.startswith(QUANTISED) for node in graph.node)
    return Foreign(data, "ort", "int8" if quantised else "fp32", source, target, parameters, macs)


def _fix_batch(values: Sequence[onnx.ValueInfoProto], place: str) -> bool:
    """Open batches become 1 -> whether there was one."""
    changed = False
    for value in values:
        for i, size in enumerate(value.type.tensor_type.shape.dim):
            if size.HasField("dim_value") and size.dim_value > 0:
                continue
            if i > 0:
                shown = size.dim_param or "?"
                raise InputError(
                    f"{place}: {value.name} leaves its size {i} open ({shown}): export it with "
                    "fixed sizes"
                )
            size.dim_value = 1
            changed = True
    return changed


def _onnx_scale(
    node: onnx.NodeProto | None,
    where: Mapping[str, int],
    constants: Mapping[str, onnx.TensorProto],
) -> tuple[float, int] | None:
    if node is None or node.op_type not in where:
        return None
    at = where[node.op_type]
    names = [*node.input[at : at + 2], ""][:2]
    if names[0] not in constants:
        return None
    scale = numpy_helper.to_array(constants[names[0]]).reshape(-1)
    zero = numpy_helper.to_array(constants[names[1]]).reshape(-1) if names[1] in constants else [0]
    return (float(scale[0]), int(zero[0])) if len(scale) == 1 else None


def _onnx_cost(
    model: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]
) -> tuple[int, int]:
    """Stored weights, and multiply-accumulates as far as shapes are known."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {t.name: tuple(t.dims) for t in constants.values()}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    scales: set[str] = set()
    macs = 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales |= set(node.input[1:])
        elif node.op_type in MAKES:
            scales |= {n for i, n in enumerate(node.input) if n in constants and i in (1, 2, 4, 5)}
        at = WEIGHTS.get(node.op_type)
        if at is None or node.input[at] not in shapes:
            continue
        weight, output = shapes[node.input[at]], shapes.get(node.output[0], ())
        if node.op_type.endswith(("Conv", "ConvInteger")):
            macs += math.prod(output) * math.prod(weight[1:])
        else:  # of a vector where shapes are unknown, as behind operators that are no standard
            macs += math.prod(output[:-1]) * math.prod(weight)
    # Whole numbers of 64 bits are shapes and axes.
    weights = [
        math.prod(tensor.dims)
        for name, tensor in constants.items()
        if tensor.dims and name not in scales and tensor.data_type != onnx.TensorProto.INT64
    ]
    return sum(weights), macs


def _read_tflite(data: bytes, sample: Sequence[int], layout: str | None, place: str) -> Foreign:
    if data[4:8] != b"TFL3":
        raise InputError(f"{place} is no whole TFLite file: convert it again")
    session = get_runtime("tflite").load(data, threads=1, place=place)
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        graph = model.subgraphs[0]
        tensors = graph.tensors
        names = [tensors[i].name.decode() for i in (graph.inputs[0], graph.outputs[0])]
        stored = [t for t in tensors if model.buffers[t.buffer].data is not None]
        parameters = sum(math.prod(_shape(t)) for t in stored)
        macs = sum(_tflite_macs(model, op, tensors) for op in graph.operators)
    except Exception as error:  # flatbuffers checks nothing
        raise InputError(f"{place} is no whole TFLite file ({error!r}): convert it again") from None
    codes = (schema.TensorType.INT8, schema.TensorType.UINT8)
    precision = "int8" if any(t.type in codes for t in tensors) else "fp32"

    def spec(name: str, port: Port, layout: str | None, sample: Sequence[int] | None) -> TensorSpec:
        scale = None
        if port.scale is not None and port.zero_point is not None:
            scale = port.scale, port.zero_point
        what = "output" if sample is None else "input"
        return _spec(name, port, scale, layout, sample, place=f"{place}: the {what}")

    source = spec(names[0], session.input, layout, sample)
    target = spec(names[1], session.output, "NC", None)
    return Foreign(data, "tflite", precision, source, target, parameters, macs)


def _tflite_macs(model: Any, op: Any, tensors: Sequence[Any]) -> int:
    code = model.operatorCodes[op.opcodeIndex]
    kind = max(code.builtinCode, code.deprecatedBuiltinCode)
    builtin = schema.BuiltinOperator
    output = math.prod(_shape(tensors[op.outputs[0]]))
    if kind in (builtin.CONV_2D, builtin.FULLY_CONNECTED):
        return output * math.prod(_shape(tensors[op.inputs[1]])[1:])
    if kind == builtin.DEPTHWISE_CONV_2D:
        return output * math.prod(_shape(tensors[op.inputs[1]])[1:3])
    return 0


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _spec(
    name: str,
    port: Port,
    scale: tuple[float, int] | None,
    layout: str | None,
    sample: Sequence[int] | None,
    *,
    place: str,
) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else 1 for size in port.shape)
    _check_dtype(port.dtype, place)
    if port.dtype == "float32":
        scale = None
    elif scale is None:
        raise InputError(
            f"{place} is {port.dtype}, but the file has no scale for it: let it take and give "
            "float32, or keep its QuantizeLinear and DequantizeLinear"
        )
    if sample is not None:
        layout = layout or _layout(shape, sample, place)
    if layout is None or len(layout) != len(shape) or shape[0] != 1:
        wanted = "[1, classes]" if sample is None else "a batch of 1 and the layout that was given"
        raise InputError(f"{place} has shape {list(shape)}, which is not {wanted}")
    if name == "":
        raise InputError(f"{place} has no name: convert it again")
    low = None if scale is None else scale[1]
    real = None if scale is None else float(np.float32(scale[0]))
    return TensorSpec(name, shape, port.dtype, layout, real, low)


def _check_dtype(dtype: str, place: str) -> None:
    if dtype != "float32" and dtype not in CODE_RANGES:
        raise InputError(
            f"{place} is {dtype}: a classifier takes and gives float32, int8 or uint8; leave out "
            "what comes before and after it, such as argmax"
        )


def _layout(shape: tuple[int, ...], sample: Sequence[int], place: str) -> str:
    """Which layout of the input gives it samples of this shape, channels last."""
    if len(shape) == 2 and shape[1] == math.prod(sample):
        return "NC"
    last, first = tuple(sample), (sample[-1], *sample[:-1])
    rank = {3: ("NWC", "NCW"), 4: ("NHWC", "NCHW")}.get(len(shape))
    if rank and len(shape) == len(sample) + 1:
        for wanted, name in ((last, rank[0]), (first, rank[1])):
            if shape[1:] == wanted:
                return name
    raise InputError(
        f"{place} has shape {list(shape)}, samples have {list(sample)} (channels last): they do "
        "not fit; resize the samples, or give --layout if this is the model's"
    )


READERS = {".onnx": _read_onnx, ".tflite": _read_tflite}
