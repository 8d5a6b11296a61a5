"""`Graph` -> ONNX bytes for ONNX Runtime, in float32 or in int8.

The int8 form is ONNX's own: each operator between DequantizeLinear and QuantizeLinear, which the
runtime fuses into one integer kernel; operators that only move numbers work on the codes
themselves. Input and output are codes; whoever calls does the rounding
(`device_runner.preprocess.to_tensor`). On x86 the runtime has fast kernels for uint8 activations
only, on ARM for int8, so both can be written: uint8 codes are the int8 codes + 128.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from edgeticket.pipeline.convert.rows import as_rows
from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.graph.graph import IR_VERSION, OPSET, Graph, Operator, Value
from edgeticket.pipeline.operators import KINDS, Kind


def write_onnx(graph: Graph, *, unsigned: bool = False, explicit: bool = False) -> bytes:
    """The same graph always gives the same bytes.

    Args:
        unsigned: uint8 instead of int8 codes for the activations of a quantised graph.
        explicit: of a graph of `tensorrt.place_explicitly`: weights are float32 with Q/DQ behind
            them, biases float32.
    """
    graph = as_rows(graph)
    draft = OnnxDraft(graph, unsigned=unsigned, explicit=explicit)
    for operator in graph.operators:
        draft.step = operator.name
        kind = KINDS[operator.kind]
        rounded = graph.values[operator.output].quantization is not None
        if kind.crosses or (kind.keeps_codes and rounded):
            _write_on_codes(draft, operator, kind)
        elif rounded:
            _write_rounded(draft, operator)
        else:
            _write(draft, operator)
    draft.shorten()
    inputs, outputs = (
        [_end(draft, graph.values[name]) for name in names]
        for names in (graph.inputs, graph.outputs)
    )
    model = helper.make_model(
        helper.make_graph(draft.nodes, "network", inputs, outputs),
        producer_name="edgeticket",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    while draft.tensors:  # a message copies what it is given, so each goes when it is in
        model.graph.initializer.append(draft.tensors.pop(next(iter(draft.tensors))))
    data = bytes(model.SerializeToString(deterministic=True))
    del model
    onnx.checker.check_model(data)  # of a model it would write bytes of its own
    return data


def _end(draft: OnnxDraft, value: Value) -> onnx.ValueInfoProto:
    kind = draft.code_type if value.quantization else TYPES[value.dtype]
    return helper.make_tensor_value_info(value.name, kind, value.shape)


TYPES = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


def _write(draft: OnnxDraft, operator: Operator) -> None:
    """An operator on float32 tensors."""
    write = KINDS[operator.kind].onnx
    inputs = [draft.real(operator, i) for i in range(len(operator.inputs))]
    if operator.clamp is None:
        write(draft, operator, inputs, operator.output)
    else:
        free = f"{operator.output}.free"
        write(draft, operator, inputs, free)
        draft.clip(free, operator.clamp, operator.output)


def _write_on_codes(draft: OnnxDraft, operator: Operator, kind: Kind) -> None:
    """An operator that only moves codes, or one that makes or reads them."""
    quantization = draft.graph.values[operator.output].quantization
    if operator.clamp is None or quantization is None:
        kind.onnx(draft, operator, operator.inputs, operator.output)
    else:
        free = f"{operator.output}.free"
        kind.onnx(draft, operator, operator.inputs, free)
        draft.clip_codes(free, operator.clamp, quantization, operator.output)


def _write_rounded(draft: OnnxDraft, operator: Operator) -> None:
    """An operator between dequantised inputs and its quantised output."""
    write = KINDS[operator.kind].onnx
    quantization = draft.graph.values[operator.output].quantization
    assert quantization is not None
    inputs = [draft.real(operator, i) for i in range(len(operator.inputs))]
    if operator.kind in ("Conv", "Gemm") and len(inputs) < 3:
        inputs.append(draft.bias(operator))
    real = f"{operator.output}.real"
    write(draft, operator, inputs, real)
    output = operator.output if operator.clamp is None else f"{operator.output}.free"
    draft.quantized(real, quantization, output)
    if operator.clamp is not None:
        draft.clip_codes(output, operator.clamp, quantization, operator.output)
