"""Convolution and linear layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Constant, Operator, Value, integer_bias
from edgeticket.pipeline.convert.operators.kind import Kind, Substitution
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, append, attributes
from edgeticket.pipeline.convert.operators.windows import spelled_window
from edgeticket.pipeline.convert.tflite_clamp import activation
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft
from edgeticket.pipeline.convert.tflite_padding import pad_input

B = schema.BuiltinOperator


def _read_conv(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    window = spelled_window(draft, node, label)
    spelled = {"group": 1, "dilations": [1] * len(window["strides"]), **window}
    _check_layer(draft, node, label, channels=draft.shape(node.input[0])[1] // spelled["group"])
    append(draft, node, "Conv", tuple(node.input), spelled)


def _read_gemm(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    given = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | attributes(node)
    if given != {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}:
        raise InputError(f"{label} has {given}; only x·Wᵀ + b (transB = 1) can be converted")
    _check_layer(draft, node, label, channels=draft.shape(node.input[0])[1])
    append(draft, node, "Gemm", tuple(node.input), given)


def _check_layer(draft: Draft, node: onnx.NodeProto, label: str, *, channels: int) -> None:
    """Shape inference lets a weight or bias pass that does not fit the input."""
    constants = [draft.constant(node, i, label) for i in (1, 2)[: len(node.input) - 1]]
    for constant in constants:
        if constant.scale is None and constant.data.dtype != np.float32:
            raise InputError(f"{label}: its weights are {constant.data.dtype}; store float32")
    weight = constants[0].data
    rank = 2 if node.op_type == "Gemm" else len(draft.shape(node.input[0]))
    if weight.ndim != rank or weight.shape[1] != channels:
        raise InputError(
            f"{label}: its weight {list(weight.shape)} does not fit {channels} input channels; "
            "export the network again"
        )
    if len(constants) > 1 and constants[1].data.shape != weight.shape[:1]:
        raise InputError(f"{label}: its bias does not fit its weight; export the network again")


def convolution(draft: TfliteDraft, operator: Operator) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where every group has one input channel.

    CONV_2D knows groups from the number of channels that its weight has.
    """
    weight = draft.graph.constants[operator.inputs[1]]
    channels, group = weight.data.shape[0], operator.attributes["group"]
    kernel = weight.data.shape[2:]
    padding, source = pad_input(draft, operator, kernel, fill="zero")
    depthwise = group > 1 and weight.data.shape[1] == 1
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
    options.fusedActivationFunction = activation(operator)
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
    options.keepNumDims = len(draft.graph.values[name].shape) > 2
    options.fusedActivationFunction = activation(operator)
    weights = draft.constant(f"{operator.name}.weight", data, scale=weight.scale)
    output = draft.value(operator.output)
    version = 5 if weight.scale is not None or options.keepNumDims else 1
    inputs = [draft.value(name), weights, _bias(draft, operator)]
    draft.append(B.FULLY_CONNECTED, inputs, output, options, version=version)


def _bias(draft: TfliteDraft, operator: Operator) -> int:
    name = f"{operator.name}.bias"
    if draft.graph.constants[operator.inputs[1]].scale is not None:
        codes, scale = integer_bias(operator, draft.graph)
        return draft.constant(name, codes, scale=scale)
    if len(operator.inputs) > 2:
        return draft.constant(name, draft.graph.constants[operator.inputs[2]].data)
    channels = draft.graph.constants[operator.inputs[1]].data.shape[0]
    return draft.constant(name, np.zeros(channels, np.float32))


def _weight_code(bias: float) -> int:
    """The code for a weight of 1, if the bias is to be a whole number of 1/code."""
    largest = int(np.clip(2**30 / max(abs(bias), 1e-30), 1, 127))  # its count must fit int32
    codes = np.arange(largest, largest // 2, -1)
    return int(codes[np.argmin(np.abs(codes * bias - np.rint(codes * bias)))])


def constant_depthwise(
    operator: Operator,
    source: Value,
    output: Value,
    *,
    weight: float,
    bias: float = 0.0,
    **window: Any,
) -> Substitution:
    """A convolution of each channel with equal weights; all runtimes round those alike.

    Of the codes that can stand for the weight, that is taken for which the bias is most nearly a
    whole number of counts: what it is off would move many outputs to the next code.

    Args:
        source: [1, C, H, W]; or [1, C], which becomes a map of one pixel for the while.
        window: kernel_shape, strides, pads; 1×1 unless given.
    """
    channels = source.shape[1]
    attributes = {
        "dilations": [1, 1],
        "group": channels,
        "kernel_shape": [1, 1],
        "pads": [0, 0, 0, 0],
        "strides": [1, 1],
        **window,
    }
    assert source.quantization is not None
    code = _weight_code(bias / weight / float(source.quantization.scale))
    codes = np.full((channels, 1, *attributes["kernel_shape"]), code, np.int8)
    constants = {
        f"{operator.name}.weight": Constant(codes, np.full(channels, weight / code, np.float32)),
        f"{operator.name}.bias": Constant(np.full(channels, bias, np.float32)),
    }
    conv = replace(operator, kind="Conv", attributes=attributes)
    if len(source.shape) == 4:
        return Substitution((replace(conv, inputs=(source.name, *constants)),), constants)
    if len(source.shape) != 2:
        raise InputError(f"{operator}: int8 files have it for [1, C, H, W] and [1, C] only")
    pixel = (1, channels, 1, 1)
    wide = Value(f"{operator.name}.pixel", pixel, source.quantization)
    result = Value(f"{operator.name}.result", pixel, output.quantization)
    steps = (
        Operator(wide.name, "Reshape", (source.name,), wide.name),
        replace(conv, inputs=(wide.name, *constants), output=result.name),
        Operator(f"{operator.name}.flat", "Flatten", (result.name,), output.name),
    )
    return Substitution(steps, constants, (wide, result))


READERS: dict[str, Reader] = {"Conv": _read_conv, "Gemm": _read_gemm}

KINDS: dict[str, Kind] = {
    "Conv": Kind(
        convolution,
        clips=True,
        conditions="1-D and 2-D; constant weight; any groups, padding and dilation",
    ),
    "Gemm": Kind(
        linear,
        clips=True,
        any_order=True,
        conditions="x·Wᵀ + b with constant W and b; x of any rank",
    ),
}
