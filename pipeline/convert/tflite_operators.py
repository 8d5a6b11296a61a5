"""One function for each ONNX operator that can be written to a TFLite file.

Each serves float32 and int8: the tensors bring their own types and scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from device_runner.errors import InputError
from pipeline.convert.graph import Graph, Operator, integer_bias
from pipeline.convert.tflite_file import TfliteDraft
from pipeline.convert.tflite_padding import pad_input

B = schema.BuiltinOperator
Activation = schema.ActivationFunctionType

FUSED: dict[tuple[float, float] | None, int] = {
    None: Activation.NONE,
    (0.0, math.inf): Activation.RELU,
    (0.0, 6.0): Activation.RELU6,
    (-1.0, 1.0): Activation.RELU_N1_TO_1,
}
CLAMPS: dict[int, tuple[int, int]] = {  # operator, and its version that knows int8
    Activation.RELU: (B.RELU, 2),
    Activation.RELU6: (B.RELU6, 2),
    Activation.RELU_N1_TO_1: (B.RELU_N1_TO_1, 1),
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
    channels, group = weight.data.shape[0], operator.attributes["group"]
    kernel = weight.data.shape[2:]
    padding, source = pad_input(draft, operator, kernel, fill="zero")
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
    weights = draft.constant(f"{operator.name}.weight", data, scale=weight.scale, axis=axis)
    output = draft.value(operator.output)
    version = 1 if weight.scale is None else 3
    draft.append(code, [source, weights, _bias(draft, operator)], output, options, version=version)


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
    weights = draft.constant(f"{operator.name}.weight", data, scale=weight.scale)
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
    if draft.flattened.get(left) != draft.flattened.get(right):
        raise InputError(
            f"{operator} adds a flattened map to another vector; add before flattening"
        )
    if left in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[left]
    options = schema.AddOptionsT()
    options.fusedActivationFunction = _activation(operator)
    inputs, output = [draft.value(left), draft.value(right)], draft.value(operator.output)
    draft.append(B.ADD, inputs, output, options, version=_version(draft, operator, int8=2))


def global_average(draft: TfliteDraft, operator: Operator) -> None:
    """MEAN over height and width; a clamp is an operator of its own behind it."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    mean = output
    if operator.clamp is not None:
        mean = draft.like(output, f"{operator.name}.mean", draft.shape(output))
    options = schema.ReducerOptionsT()
    options.keepDims = len(draft.shape(output)) == 4
    axes = draft.constant(f"{operator.name}.axes", np.array([1, 2], np.int32))
    version = _version(draft, operator, int8=2)
    draft.append(B.MEAN, [source, axes], mean, options, version=version)
    if operator.clamp is not None:
        _append_clamp(draft, operator, mean, output)


def average_pool(draft: TfliteDraft, operator: Operator) -> None:
    """AVERAGE_POOL_2D; float32 only, because `read_graph` turns int8 ones into convolutions."""
    _pool(draft, operator, B.AVERAGE_POOL_2D, fill="zero")


def max_pool(draft: TfliteDraft, operator: Operator) -> None:
    """MAX_POOL_2D."""
    if set(operator.attributes["dilations"]) - {1}:
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
    _append_clamp(draft, operator, draft.value(name), draft.value(operator.output))


def _append_clamp(draft: TfliteDraft, operator: Operator, source: int, output: int) -> None:
    code, int8_version = CLAMPS[_activation(operator)]
    version = _version(draft, operator, int8=int8_version)
    draft.append(code, [source], output, None, version=version)


def _pool(draft: TfliteDraft, operator: Operator, code: int, *, fill: str) -> None:
    kernel = operator.attributes["kernel_shape"]
    padding, source = pad_input(draft, operator, kernel, fill=fill)
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
