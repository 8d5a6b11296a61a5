"""Explicit padding of ONNX in TFLite, which knows SAME and VALID only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from device_runner.errors import InputError
from pipeline.convert.graph import Operator
from pipeline.convert.tflite_draft import TfliteDraft

B = schema.BuiltinOperator
Padding = schema.Padding


def pad_input(
    draft: TfliteDraft, operator: Operator, kernel: Sequence[int], *, fill: str
) -> tuple[int, int]:
    """(SAME or VALID, input tensor): the input is padded first where neither is the same as ONNX.

    fill: "zero", or "lowest" for maxima.
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
        if after > attributes["pads"][axis + 2]:
            raise InputError(f"{operator}: ceil_mode; round output sizes down instead")
        margins.append((before, max(after, 0)))
        whole = math.ceil(sizes[axis] / stride)
        total = max((whole - 1) * stride + reach - sizes[axis], 0)
        same &= outputs[axis] == whole and before == total // 2
        valid &= before == 0 and after <= 0
    if valid or same:
        return (Padding.VALID if valid else Padding.SAME), source
    shape = draft.shape(source)
    (top, bottom), (left, right) = margins
    padded = (1, top + shape[1] + bottom, left + shape[2] + right, shape[3])
    output = draft.like(source, f"{operator.name}.padded", padded)
    amounts = np.array([(0, 0), *margins, (0, 0)], np.int32)
    inputs = [source, draft.constant(f"{operator.name}.padding", amounts)]
    version = draft.version(operator, int8=2)
    if fill == "zero":  # for codes: the zero point
        draft.append(B.PAD, inputs, output, schema.PadOptionsT(), version=version)
    else:
        inputs.append(draft.lowest(f"{operator.name}.lowest", like=source))
        draft.append(B.PADV2, inputs, output, schema.PadV2OptionsT(), version=version)
    return Padding.VALID, output
