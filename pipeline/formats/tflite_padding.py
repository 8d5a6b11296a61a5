"""Explicit padding of ONNX in TFLite, which knows SAME and VALID only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.graph import LOWEST, Operator

B = schema.BuiltinOperator
Padding = schema.Padding


def pad_input(
    draft: TfliteDraft, operator: Operator, kernel: Sequence[int], *, fill: str
) -> tuple[int, int]:
    """(SAME or VALID, input tensor): the input is padded first where neither is the same as ONNX.

    fill: what ONNX takes padding for: "zero"; "lowest" for maxima; "none" for averages that
        leave it out of their count.
    """
    source = draft.value(operator.inputs[0])
    attributes = operator.attributes
    sizes = draft.graph.values[operator.inputs[0]].shape[2:]
    outputs = draft.graph.values[operator.output].shape[2:]
    margins = []  # before and after, as far as it is read
    same = valid = True
    for axis in (0, 1):
        stride = attributes["strides"][axis]
        dilation = attributes.get("dilations", (1, 1))[axis]  # average pools have none
        reach = (kernel[axis] - 1) * dilation + 1
        before = attributes["pads"][axis]
        after = (outputs[axis] - 1) * stride + reach - sizes[axis] - before
        margins.append((before, max(after, 0)))
        whole = math.ceil(sizes[axis] / stride)
        total = max((whole - 1) * stride + reach - sizes[axis], 0)
        same &= outputs[axis] == whole and before == total // 2
        valid &= before == 0 and after <= 0
    # TFLite's averages leave padding out of their count, whatever the operator does.
    same &= fill == "none" or operator.kind != "AveragePool"
    if valid or same:
        return (Padding.VALID if valid else Padding.SAME), source
    if fill == "none":
        raise InputError(
            f"{operator} leaves padding out of its count, and not as TFLite's SAME would pad; "
            "set count_include_pad=True"
        )
    shape = draft.shape(source)
    (top, bottom), (left, right) = margins
    padded = (1, top + shape[1] + bottom, left + shape[2] + right, shape[3])
    output = draft.like(source, f"{operator.name}.padded", padded)
    amounts = np.array([(0, 0), *margins, (0, 0)], np.int32)
    inputs = [source, draft.constant(f"{operator.name}.padding", amounts, once=False)]
    version = draft.version(operator, int8=2)
    if fill == "zero" or _never_negative(draft, operator):  # for codes: the zero point
        draft.append(B.PAD, inputs, output, schema.PadOptionsT(), version=version)
    else:
        inputs.append(draft.lowest(f"{operator.name}.lowest", like=source))
        draft.append(B.PADV2, inputs, output, schema.PadV2OptionsT(), version=version)
    return Padding.VALID, output


def _never_negative(draft: TfliteDraft, operator: Operator) -> bool:
    """Whether 0 is as good as the lowest number around what ``operator`` reads: PAD is faster."""
    name = operator.inputs[0]
    quantization = draft.graph.values[name].quantization
    if quantization is not None:
        return quantization.zero_point == LOWEST
    makers = [op for op in draft.graph.operators if op.output == name]
    return any(op.clamp is not None and op.clamp[0] >= 0 for op in makers)
