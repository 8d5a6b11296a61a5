"""One function for each ONNX operator that can be written to a TFLite file.

Each serves float32 and int8: the tensors bring their own types and scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from device_runner.errors import InputError
from pipeline.convert.graph import Array, Graph, Operator, integer_bias
from pipeline.convert.tflite_file import TfliteDraft

B = schema.BuiltinOperator
Activation = schema.ActivationFunctionType
Padding = schema.Padding

FUSED: dict[tuple[float, float] | None, int] = {
    None: Activation.NONE,
    (0.0, math.inf): Activation.RELU,
    (0.0, 6.0): Activation.RELU6,
    (-1.0, 1.0): Activation.RELU_N1_TO_1,
}


def write_tflite(graph: Graph) -> bytes:
    """The same graph always gives the same bytes.

    Raises:
        InputError: an operator that TFLite files cannot express, by name.
    """
    draft = TfliteDraft(graph)
    draft.value(graph.input)
    for operator in graph.operators:
        if operator.kind not in OPERATORS:
            known = ", ".join(sorted(OPERATORS))
            raise InputError(
                f"{operator} has no TFLite counterpart here; replace it by one of {known}"
            )
        OPERATORS[operator.kind](draft, operator)
    if graph.output in draft.flattened:
        raise InputError(f"{graph.output} is a flattened map; end the network with a linear layer")
    return draft.finish()


def convolution(draft: TfliteDraft, operator: Operator) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where every group has one input channel."""
    weight = draft.graph.constants[operator.inputs[1]]
    if weight.data.ndim != 4:
        raise InputError(f"{operator}: only 2-D convolutions can be converted")
    channels, group = weight.data.shape[0], operator.attributes["group"]
    kernel = weight.data.shape[2:]
    padding, source = _pad(draft, operator, kernel, fill="zero")
    depthwise = group > 1
    if depthwise and weight.data.shape[1] != 1:
        raise InputError(f"{operator}: {group} groups; use one group, or one for each channel")
    if depthwise:
        data, axis = weight.data.transpose(1, 2, 3, 0), 3
        options = schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = channels // group
        code = B.DEPTHWISE_CONV_2D
    else:
        data, axis = weight.data.transpose(0, 2, 3, 1), 0
        options = schema.Conv2DOptionsT()
        code = B.CONV_2D
    options.padding = padding
    options.strideH, options.strideW = operator.attributes["strides"]
    options.dilationHFactor, options.dilationWFactor = operator.attributes["dilations"]
    options.fusedActivationFunction = _activation(operator)
    weights = draft.constant(operator.inputs[1], data, scale=weight.scale, axis=axis)
    output = draft.value(operator.output)
    version = 1 if weight.scale is None else 3
    draft.append(
        code, [source, weights, _bias(draft, operator)], output, options, version=version
    )


def linear(draft: TfliteDraft, operator: Operator) -> None:
    """FULLY_CONNECTED; behind a flattened map its columns are put in NHWC order."""
    weight = draft.graph.constants[operator.inputs[1]]
    name = operator.inputs[0]
    data = weight.data
    if name in draft.flattened:
        channels, height, width = draft.flattened[name]
        data = data.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        data = data.reshape(weight.data.shape)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = _activation(operator)
    weights = draft.constant(operator.inputs[1], data, scale=weight.scale)
    output = draft.value(operator.output)
    version = 1 if weight.scale is None else 5
    inputs = [draft.value(name), weights, _bias(draft, operator)]
    draft.append(B.FULLY_CONNECTED, inputs, output, options, version=version)


def addition(draft: TfliteDraft, operator: Operator) -> None:
    """ADD of two values of one shape."""
    left, right = operator.inputs
    values = draft.graph.values
    if left not in values or right not in values or values[left].shape != values[right].shape:
        raise InputError(f"{operator}: only two tensors of one shape can be added")
    options = schema.AddOptionsT()
    options.fusedActivationFunction = _activation(operator)
    inputs, output = [draft.value(left), draft.value(right)], draft.value(operator.output)
    draft.append(B.ADD, inputs, output, options, version=_version(draft, operator, int8=2))


def global_average(draft: TfliteDraft, operator: Operator) -> None:
    """MEAN over height and width."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    options = schema.ReducerOptionsT()
    options.keepDims = len(draft.shape(output)) == 4
    axes = draft.constant(f"{operator.name}.axes", np.array([1, 2], np.int32))
    version = _version(draft, operator, int8=2)
    draft.append(B.MEAN, [source, axes], output, options, version=version)


def average_pool(draft: TfliteDraft, operator: Operator) -> None:
    """AVERAGE_POOL_2D."""
    if operator.attributes.get("count_include_pad", 0) == 0 and any(operator.attributes["pads"]):
        raise InputError(f"{operator}: padding that is not counted; pool without padding")
    _pool(draft, operator, B.AVERAGE_POOL_2D, fill="zero")


def max_pool(draft: TfliteDraft, operator: Operator) -> None:
    """MAX_POOL_2D."""
    if set(operator.attributes.get("dilations", ())) - {1}:
        raise InputError(f"{operator}: dilated pooling; use dilation 1")
    _pool(draft, operator, B.MAX_POOL_2D, fill="lowest")


def flatten(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE; the order of the values becomes that of NHWC."""
    name = operator.inputs[0]
    shape = draft.graph.values[name].shape
    if name in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[name]
    elif len(shape) == 4 and shape[2:] != (1, 1):
        draft.flattened[operator.output] = shape[1:]
    source, output = draft.value(name), draft.value(operator.output)
    target = np.array(draft.shape(output), np.int32)
    options = schema.ReshapeOptionsT()
    options.newShape = target
    inputs = [source, draft.constant(f"{operator.output}.shape", target)]
    draft.append(B.RESHAPE, inputs, output, options, version=1)


def clip(draft: TfliteDraft, operator: Operator) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 on their own."""
    name = operator.inputs[0]
    if name in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[name]
    codes = {
        Activation.RELU: B.RELU,
        Activation.RELU6: B.RELU6,
        Activation.RELU_N1_TO_1: B.RELU_N1_TO_1,
    }
    source, output = draft.value(name), draft.value(operator.output)
    version = _version(draft, operator, int8=2)
    draft.append(codes[_activation(operator)], [source], output, None, version=version)


def _pool(draft: TfliteDraft, operator: Operator, code: int, *, fill: str) -> None:
    kernel = operator.attributes["kernel_shape"]
    padding, source = _pad(draft, operator, kernel, fill=fill)
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.filterHeight, options.filterWidth = kernel
    options.strideH, options.strideW = operator.attributes["strides"]
    options.fusedActivationFunction = _activation(operator)
    output = draft.value(operator.output)
    draft.append(code, [source], output, options, version=_version(draft, operator, int8=2))


def _activation(operator: Operator) -> int:
    if operator.clamp not in FUSED:
        raise InputError(f"{operator} is clipped to {operator.clamp}; use ReLU, ReLU6 or Hardtanh")
    return FUSED[operator.clamp]


def _version(draft: TfliteDraft, operator: Operator, *, int8: int) -> int:
    return int8 if draft.graph.values[operator.output].quantization else 1


def _bias(draft: TfliteDraft, operator: Operator) -> int:
    name = f"{operator.name}.bias"
    if draft.graph.is_quantized():
        codes, scale = integer_bias(operator, draft.graph)
        return draft.constant(name, codes, scale=scale)
    if len(operator.inputs) > 2:
        return draft.constant(name, draft.graph.constants[operator.inputs[2]].data)
    channels = draft.graph.constants[operator.inputs[1]].data.shape[0]
    return draft.constant(name, np.zeros(channels, np.float32))


def _pad(
    draft: TfliteDraft, operator: Operator, kernel: Sequence[int], *, fill: str
) -> tuple[int, int]:
    """(SAME or VALID, input tensor): the input is padded first where neither is the same as ONNX.

    fill: "zero", or "lowest" for maxima.
    """
    source = draft.value(operator.inputs[0])
    attributes = operator.attributes
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise InputError(f"{operator}: auto_pad; export with explicit padding")
    sizes = draft.graph.values[operator.inputs[0]].shape[2:]
    outputs = draft.graph.values[operator.output].shape[2:]
    margins = []  # before and after, as far as it is read
    same = valid = True
    for axis in (0, 1):
        stride = attributes["strides"][axis]
        dilation = attributes.get("dilations", (1, 1))[axis]
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
    version = _version(draft, operator, int8=2)
    if fill == "zero":  # for codes: the zero point
        draft.append(B.PAD, inputs, output, schema.PadOptionsT(), version=version)
    else:
        inputs.append(draft.lowest(f"{operator.name}.fill", source))
        draft.append(B.PADV2, inputs, output, schema.PadV2OptionsT(), version=version)
    return Padding.VALID, output


Writer = Callable[[TfliteDraft, Operator], None]

OPERATORS: dict[str, Writer] = {
    "Add": addition,
    "AveragePool": average_pool,
    "Clip": clip,
    "Conv": convolution,
    "Flatten": flatten,
    "Gemm": linear,
    "GlobalAveragePool": global_average,
    "MaxPool": max_pool,
}
