"""Convolution and linear layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.formats.tflite_clamp import activation
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.formats.tflite_padding import pad_input
from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Constant, Operator, Value, integer_bias
from edgeticket.pipeline.operators import passing_layers
from edgeticket.pipeline.operators.kind import Attributes, Kind, Reader, Role, Shape, Substitution
from edgeticket.pipeline.operators.windows import spread, window, window_sizes

B = schema.BuiltinOperator


def convolve(
    draft: Draft,
    source: str,
    weight: str,
    bias: str,
    *,
    strides: Sequence[int] | int = 1,
    pads: Sequence[int] | int = 0,
    dilations: Sequence[int] | int = 1,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> str:
    """Conv with constant weights; where one side is padded more than the other, behind a Pad."""
    kernel = draft.array(weight, "its weights").shape[2:]
    attributes = window(
        draft,
        source,
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        auto_pad=auto_pad,
    )
    _check_layer(
        draft, weight, bias, rank=draft.rank(source), channels=draft.shape(source)[1] // group
    )
    inputs, outputs = draft.shape(source)[1], draft.shape(weight)[0]
    if inputs % group or outputs % group:
        raise draft.refuse(
            f"has {group} groups, which do not divide its {inputs} input and {outputs} output "
            "channels; export the network again"
        )
    half = len(attributes["pads"]) // 2
    before, after = attributes["pads"][:half], attributes["pads"][half:]
    if before != after:
        source = draft.add(
            "Pad", source, suffix="pad", before=[0, 0, *before], after=[0, 0, *after], origin=()
        )
        attributes["pads"] = [0] * 2 * half
    tensors = [source, weight, bias] if bias else [source, weight]
    return draft.add("Conv", *tensors, group=group, **attributes)


def multiply_matrix(draft: Draft, source: str, weight: str, bias: str = "") -> str:
    """Gemm: x·Wᵀ + b over the last axis of ``source``, W [outputs, inputs] constant."""
    draft.array(weight, "its weights")
    _check_layer(draft, weight, bias, rank=2, channels=draft.shape(source)[-1])
    inputs = [source, weight, bias] if bias else [source, weight]
    return draft.add("Gemm", *inputs, alpha=1.0, beta=1.0, transA=0, transB=1)


def _check_layer(draft: Draft, weight: str, bias: str, *, rank: int, channels: int) -> None:
    """Shape inference lets a weight or bias pass that does not fit the input."""
    for name in filter(None, (weight, bias)):
        constant = draft.constants.get(name)
        if constant is None:
            raise draft.refuse("computes its weights from the input: they must be constants")
        if constant.scale is None and constant.data.dtype != np.float32:
            raise draft.refuse(f"has weights that are {constant.data.dtype}; store float32")
    shape = draft.shape(weight)
    if len(shape) != rank or shape[1] != channels:
        raise draft.refuse(
            f"has a weight {list(shape)} that does not fit {channels} input channels; export the "
            "network again"
        )
    if bias and draft.shape(bias) != shape[:1]:
        raise draft.refuse("has a bias that does not fit its weight; export the network again")


def _aten_convolution(
    draft: Draft,
    input: str,
    weight: str,
    bias: str = "",
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    pads, auto = padding, "NOTSET"
    if isinstance(padding, str):
        pads, auto = 0, {"same": "SAME_UPPER", "valid": "VALID"}[padding]
    return convolve(
        draft,
        input,
        weight,
        bias,
        strides=stride,
        pads=pads,
        dilations=dilation,
        group=groups,
        auto_pad=auto,
    )


def _aten_any_convolution(
    draft: Draft,
    input: str,
    weight: str,
    bias: str,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    **_: Any,
) -> str:
    read = _aten_transposed if transposed else _aten_convolution
    more = {"output_padding": output_padding} if transposed else {}
    return read(
        draft, input, weight, bias, stride, padding, dilation=dilation, groups=groups, **more
    )


def _onnx_convolution(
    draft: Draft,
    x: str,
    weight: str,
    bias: str = "",
    *,
    kernel_shape: Sequence[int] | None = None,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> str:
    return convolve(
        draft,
        x,
        weight,
        bias,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=group,
        auto_pad=auto_pad,
    )


def transpose_convolve(
    draft: Draft,
    source: str,
    weight: str,
    bias: str,
    *,
    strides: Any = 1,
    pads: Any = 0,
    output_padding: Any = 0,
    dilations: Any = 1,
    group: int = 1,
) -> str:
    """ConvTranspose with a constant weight [inputs, outputs / group, ...]."""
    kernel = draft.array(weight, "its weights").shape[2:]
    attributes = window(
        draft, source, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations
    )
    if len(draft.shape(weight)) != draft.rank(source) or (
        draft.shape(weight)[0] != draft.shape(source)[1]
    ):
        raise draft.refuse("has a weight that does not fit its input; export the network again")
    channels, per_group = draft.shape(weight)[:2]
    if channels % group:
        raise draft.refuse(
            f"has {group} groups, which do not divide its {channels} input channels; export the "
            "network again"
        )
    if bias and draft.array(bias, "its bias").shape != (per_group * group,):
        raise draft.refuse("has a bias that does not fit its weight; export the network again")
    more = attributes["output_padding"] = spread(output_padding, len(kernel))
    steps = zip(attributes["strides"], attributes["dilations"], strict=True)
    if any(n >= max(both) for n, both in zip(more, steps, strict=True)):
        raise draft.refuse(
            f"adds {more} to its output, which is not below its strides: pad behind it"
        )
    inputs = [source, weight, bias] if bias else [source, weight]
    return draft.add("ConvTranspose", *inputs, group=group, **attributes)


def _aten_transposed(
    draft: Draft,
    input: str,
    weight: str,
    bias: str = "",
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> str:
    return transpose_convolve(
        draft,
        input,
        weight,
        bias,
        strides=stride,
        pads=padding,
        output_padding=output_padding,
        dilations=dilation,
        group=groups,
    )


def _onnx_transposed(
    draft: Draft,
    x: str,
    weight: str,
    bias: str = "",
    *,
    kernel_shape: Sequence[int] | None = None,
    strides: Any = 1,
    pads: Any = 0,
    output_padding: Any = 0,
    dilations: Any = 1,
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_shape: Sequence[int] | None = None,
) -> str:
    if auto_pad == "VALID":
        pads = 0
    elif auto_pad != "NOTSET" or output_shape is not None:
        raise draft.refuse("names its output's shape: export it with explicit padding")
    return transpose_convolve(
        draft,
        x,
        weight,
        bias,
        strides=strides,
        pads=pads,
        output_padding=output_padding,
        dilations=dilations,
        group=group,
    )


def _aten_linear(draft: Draft, input: str, weight: str, bias: str = "") -> str:
    return multiply_matrix(draft, input, weight, bias)


def _aten_addmm(
    draft: Draft, self: str, mat1: str, mat2: str, beta: float = 1, alpha: float = 1
) -> str:
    return _gemm(draft, mat1, mat2, self, alpha=alpha, beta=beta)


def _onnx_gemm(
    draft: Draft,
    a: str,
    b: str,
    c: str = "",
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> str:
    if transA:
        raise draft.refuse("reads its first factor transposed: export it as x·Wᵀ + b")
    return _gemm(draft, a, b, c, alpha=alpha, beta=beta, transposed=bool(transB))


def _gemm(
    draft: Draft,
    x: str,
    matrix: str,
    bias: str,
    *,
    alpha: float,
    beta: float,
    transposed: bool = False,
) -> str:
    draft.array(matrix, "its weights")
    if not transposed:
        matrix = draft.transposed(matrix, [1, 0])
    if alpha != 1:
        matrix = draft.constant(draft.array(matrix) * np.float32(alpha), f"{draft.step}_weight")
    if bias:
        numbers = draft.array(bias, "its bias")
        outputs = draft.shape(matrix)[0]
        if beta != 1 or numbers.shape != (outputs,):
            wide = np.broadcast_to(numbers * np.float32(beta), (1, outputs))[0]
            bias = draft.constant(np.array(wide), f"{draft.step}_bias")
    return multiply_matrix(draft, x, matrix, bias)


def convolution_shape(attributes: Attributes, x: Shape, weight: Shape, bias: Shape = ()) -> Shape:
    """[N, C, ...] and [outputs, C / group, ...] -> [N, outputs, ...]."""
    return (x[0], weight[0], *window_sizes(attributes, x[2:]))


def transposed_shape(attributes: Attributes, x: Shape, weight: Shape, bias: Shape = ()) -> Shape:
    """[N, C, ...] and [C, outputs / group, ...] -> [N, outputs, ...]."""
    axes = len(x) - 2
    sizes = [
        (x[i + 2] - 1) * attributes["strides"][i]
        + (attributes["kernel_shape"][i] - 1) * attributes["dilations"][i]
        + 1
        + attributes["output_padding"][i]
        - attributes["pads"][i]
        - attributes["pads"][i + axes]
        for i in range(axes)
    ]
    return (x[0], weight[1] * attributes["group"], *sizes)


def _linear_shape(attributes: Attributes, x: Shape, weight: Shape, bias: Shape = ()) -> Shape:
    return (*x[:-1], weight[0])


def _convolution_macs(
    attributes: Attributes, output: Shape, x: Shape, weight: Shape, bias: Shape = ()
) -> int:
    return math.prod(output) * math.prod(weight[1:])


def _transposed_macs(
    attributes: Attributes, output: Shape, x: Shape, weight: Shape, bias: Shape = ()
) -> int:
    return math.prod(x) * math.prod(weight[1:])


def _linear_macs(
    attributes: Attributes, output: Shape, x: Shape, weight: Shape, bias: Shape = ()
) -> int:
    return math.prod(output) * weight[1]


def _convolution_meaning(
    torch: Any, attributes: Attributes, x: Any, weight: Any, bias: Any = None
) -> Any:
    axes = x.ndim - 2
    function = (torch.conv1d, torch.conv2d)[axes - 1]
    return function(
        x, weight, bias, attributes["strides"], attributes["pads"][:axes],
        attributes["dilations"], attributes["group"],
    )  # fmt: skip


def _linear_meaning(
    torch: Any, attributes: Attributes, x: Any, weight: Any, bias: Any = None
) -> Any:
    return torch.nn.functional.linear(x, weight, bias)


def _transposed_meaning(
    torch: Any, attributes: Attributes, x: Any, weight: Any, bias: Any = None
) -> Any:
    axes = x.ndim - 2
    function = (torch.conv_transpose1d, torch.conv_transpose2d)[axes - 1]
    pads = attributes["pads"]
    if pads[:axes] != pads[axes:]:
        wide = function(
            x, weight, bias, attributes["strides"], 0, attributes["output_padding"],
            attributes["group"], attributes["dilations"],
        )  # fmt: skip
        for axis in range(axes):
            size = wide.shape[axis + 2] - pads[axis] - pads[axis + axes]
            wide = wide.narrow(axis + 2, pads[axis], size)
        return wide
    return function(
        x, weight, bias, attributes["strides"], pads[:axes], attributes["output_padding"],
        attributes["group"], attributes["dilations"],
    )  # fmt: skip


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
    source, output = draft.last_axis_last(operator)
    version = 5 if weight.scale is not None or options.keepNumDims else 1
    inputs = [source, weights, _bias(draft, operator)]
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


def _weight_code(weight: float, bias: float, input_scale: float) -> tuple[int, float]:
    """Code and scale of the weight, for which the bias is most nearly a whole number of counts.

    A count is worth input scale × weight scale, and the bias must fit int32 in it. Where inputs are
    so small that it fits in none, they are nothing beside the bias, and the weight is 0.
    """
    counts = bias / weight / input_scale  # of the bias, with a weight of code 1
    if abs(counts) > MOST_COUNTS:
        return 0, abs(bias) / (input_scale * MOST_COUNTS)
    largest = int(np.clip(MOST_COUNTS / max(abs(counts), 1e-30), 1, 127))
    codes = np.arange(largest, largest // 2, -1)
    code = int(codes[np.argmin(np.abs(codes * counts - np.rint(codes * counts)))])
    return code if weight > 0 else -code, abs(weight) / code


MOST_COUNTS = 2**30  # of a bias, which is int32


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
        source: [1, C, H, W] or [1, C, W]; other shapes become a map for the while.
        window: kernel_shape, strides, pads; 1×1 unless given.
    """
    channels, *sizes = source.shape[1:]
    axes = len(sizes) if len(sizes) in (1, 2) else 2
    attributes = {
        "dilations": [1] * axes,
        "group": channels,
        "kernel_shape": [1] * axes,
        "pads": [0] * 2 * axes,
        "strides": [1] * axes,
        **window,
    }
    assert source.quantization is not None
    code, scale = _weight_code(weight, bias, float(source.quantization.scale))
    codes = np.full((channels, 1, *attributes["kernel_shape"]), code, np.int8)
    constants = {
        f"{operator.name}.weight": Constant(codes, np.full(channels, scale, np.float32)),
        f"{operator.name}.bias": Constant(np.full(channels, bias, np.float32)),
    }
    conv = replace(operator, kind="Conv", attributes=attributes)
    if axes == len(sizes):
        return Substitution((replace(conv, inputs=(source.name, *constants)),), constants)
    shape = (1, channels, math.prod(sizes), 1)
    wide = Value(f"{operator.name}.pixel", shape, source.quantization)
    result = Value(f"{operator.name}.result", shape, output.quantization)
    back = "Reshape" if sizes else "Flatten"
    steps = (
        Operator(wide.name, "Reshape", (source.name,), wide.name),
        replace(conv, inputs=(wide.name, *constants), output=result.name),
        Operator(f"{operator.name}.flat", back, (result.name,), output.name),
    )
    return Substitution(steps, constants, (wide, result))


def transposed_convolution(draft: TfliteDraft, operator: Operator) -> None:
    """A convolution and DepthToSpace, from PyTorch; files of ONNX with it are refused."""
    raise InputError(f"{operator} is written as a convolution and DepthToSpace")


ATEN: dict[str, Reader] = {
    "_convolution": _aten_any_convolution,
    "addmm": _aten_addmm,
    "conv1d": _aten_convolution,
    "conv2d": _aten_convolution,
    "conv_transpose1d": _aten_transposed,
    "conv_transpose2d": _aten_transposed,
    "convolution": _aten_any_convolution,
    "linear": _aten_linear,
}
ONNX: dict[str, Reader] = {
    "Conv": _onnx_convolution,
    "ConvTranspose": _onnx_transposed,
    "Gemm": _onnx_gemm,
}
KINDS: dict[str, Kind] = {
    "Conv": Kind(
        convolution,
        _convolution_meaning,
        convolution_shape,
        role=Role.LAYER,
        macs=_convolution_macs,
        clips=True,
        channels=passing_layers.convolution,
        conditions="1-D and 2-D; constant weight; any groups, padding and dilation",
    ),
    "ConvTranspose": Kind(
        transposed_convolution,
        _transposed_meaning,
        transposed_shape,
        macs=_transposed_macs,
        channels=passing_layers.transposed_convolution,
        conditions="1-D and 2-D; constant weight",
    ),
    "Gemm": Kind(
        linear,
        _linear_meaning,
        _linear_shape,
        role=Role.LAYER,
        macs=_linear_macs,
        clips=True,
        any_order=True,
        channels=passing_layers.linear,
        conditions="x·Wᵀ + b with constant W and b; x of any rank",
    ),
}
