"""Model files that other tools made: what they take and give, read from the files themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import CODE_RANGES, TensorSpec
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.runtimes.session import Port
from edgeticket.pipeline.external.layers import Count, total
from edgeticket.pipeline.external.onnx_cost import onnx_layers
from edgeticket.pipeline.external.onnx_model import constants_of, parse_onnx, read_file, read_onnx
from edgeticket.pipeline.external.tflite_cost import tflite_layers
from edgeticket.pipeline.external.tflite_model import name_of, parse_tflite

LAYOUTS = ("NCHW", "NHWC", "NCW", "NWC", "NC")
DTYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.FLOAT16: "float16",
}
# Where a node has scale and zero point of what it reads, or of what it makes.
READS = {"DequantizeLinear": 1, "QLinearConv": 1, "QLinearMatMul": 1, "QGemm": 1}
MAKES = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6}
MAKES |= {"QLinearGlobalAveragePool": 3, "QLinearSoftmax": 3, "QLinearSigmoid": 3}
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
QUANTISED = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True)
class Foreign:
    """A model file that a runtime here loads; the batch is fixed to 1."""

    data: bytes
    runtime: str
    precision: str
    input: TensorSpec
    output: TensorSpec
    parameters: Count
    macs: Count


def read_foreign(file: Path, *, sample: Sequence[int], layout: str | None = None) -> Foreign:
    """A .onnx or .tflite file -> what a bundle says of it.

    Args:
        file: the model.
        sample: shape of one sample, channels last; tells the model's layout.
        layout: of the input, where the shapes do not tell.

    Raises:
        InputError: another kind of file, damaged, or one that a bundle cannot hold.
    """
    if file.suffix == ".pt2":
        raise InputError(
            f"{file} is a program of torch.export, which no runtime on a device takes: a recipe "
            f"with `model: {{pt2: {file}}}` makes files of it, and their bundle"
        )
    if file.suffix not in READERS:
        raise InputError(f"{file}: give a file that ends in {' or '.join(READERS)}")
    return READERS[file.suffix](file, sample, layout, str(file))


def _read_onnx(file: Path, sample: Sequence[int], layout: str | None, place: str) -> Foreign:
    data = read_onnx(file)
    model = parse_onnx(data, place=place)
    graph = model.graph
    constants = constants_of(graph)
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
        *(inputs[0].name, session.input, onnx_scale(reader, READS, constants), layout, sample),
        place=f"{place}: the input",
    )
    target = _spec(
        *(graph.output[0].name, session.output, onnx_scale(maker, MAKES, constants), "NC", None),
        place=f"{place}: the output",
    )
    layers = onnx_layers(model)
    parameters, macs = total([n.parameters for n in layers]), total([n.macs for n in layers])
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


def onnx_scale(
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


def _read_tflite(file: Path, sample: Sequence[int], layout: str | None, place: str) -> Foreign:
    data = read_file(file)
    model = parse_tflite(data, place=place)
    session = get_runtime("tflite").load(data, threads=1, place=place)  # one input, one output
    graph = model.subgraphs[0]
    names = [name_of(graph.tensors[i]) for i in (graph.inputs[0], graph.outputs[0])]
    layers = tflite_layers(model)
    parameters, macs = total([n.parameters for n in layers]), total([n.macs for n in layers])
    codes = (schema.TensorType.INT8, schema.TensorType.UINT8)
    precision = "int8" if any(t.type in codes for t in graph.tensors) else "fp32"

    def spec(name: str, port: Port, layout: str | None, sample: Sequence[int] | None) -> TensorSpec:
        scale = None
        if port.scale is not None and port.zero_point is not None:
            scale = port.scale, port.zero_point
        what = "output" if sample is None else "input"
        return _spec(name, port, scale, layout, sample, place=f"{place}: the {what}")

    source = spec(names[0], session.input, layout, sample)
    target = spec(names[1], session.output, "NC", None)
    return Foreign(data, "tflite", precision, source, target, parameters, macs)


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
