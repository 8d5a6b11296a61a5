"""One function for each ONNX operator that means something special to a `Graph`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from device_runner.errors import InputError
from pipeline.convert.graph import Array, Constant, Operator, Quantization


@dataclass
class Draft:
    """What one walk over the nodes collects."""

    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Constant]
    scales: dict[str, Quantization] = field(default_factory=dict)  # by value before rounding
    origins: dict[str, str] = field(default_factory=dict)  # Q, DQ, Identity output -> value
    operators: list[Operator] = field(default_factory=list)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[self.origins.get(name, name)]

    def constant(self, node: onnx.NodeProto, index: int, label: str) -> Constant:
        """The constant at input ``index`` of ``node``."""
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.constants:
            raise InputError(f"{label}: its input {index} ({name!r}) must be a constant")
        return self.constants[name]


def read_array(tensor: onnx.TensorProto) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{tensor.name} lies in another file; export with the weights inside")
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{tensor.name} cannot be read ({error}); export it again") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{tensor.name} holds NaN or infinity; check how it was trained")
    return array


def read_other(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """Any standard operator with one output, as it is."""
    if node.domain not in ("", "ai.onnx"):
        raise InputError(f"{label} is of {node.domain}; use standard ONNX operators only")
    if len(node.output) != 1:
        raise InputError(f"{label} has {len(node.output)} outputs; only one can be converted")
    for name in (*node.input, *node.output):
        known = name in draft.constants or draft.origins.get(name, name) in draft.shapes
        if name and not known:
            raise InputError(f"{label}: the shape of {name} is unknown; export with fixed sizes")
    _append(draft, node, node.op_type, tuple(node.input), _attributes(node))


def _append(
    draft: Draft,
    node: onnx.NodeProto,
    kind: str,
    inputs: tuple[str, ...],
    attributes: Mapping[str, Any] = MappingProxyType({}),
    clamp: tuple[float, float] | None = None,
) -> None:
    output = node.output[0]
    operator = Operator(node.name or output, kind, inputs, output, attributes, clamp)
    if not inputs or inputs[0] in draft.constants:
        raise InputError(f"{operator} works on a constant; export with constants folded")
    draft.operators.append(operator)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _read_constant(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    (attribute,) = node.attribute
    if attribute.name != "value":
        raise InputError(f"{label}: {attribute.name} cannot be converted; give a tensor")
    draft.constants[node.output[0]] = Constant(read_array(attribute.t))


def _read_identity(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    name = node.input[0]
    if name in draft.constants:
        draft.constants[node.output[0]] = draft.constants[name]
    else:
        draft.origins[node.output[0]] = draft.origins.get(name, name)


def _read_quantize(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    name, output = node.input[0], node.output[0]
    scale = np.asarray(draft.constant(node, 1, label).data)
    if scale.dtype != np.float32 or not (np.isfinite(scale) & (scale > 0)).all():
        raise InputError(f"{label}: scales must be positive float32; calibrate the network anew")
    zero_point = draft.constant(node, 2, label).data
    if zero_point.dtype != np.int8:
        raise InputError(f"{label}: codes are {zero_point.dtype}; quantise to int8")
    if name in draft.constants:
        draft.constants[output] = _fold(draft.constants[name], scale, zero_point, label)
        return
    if scale.size != 1:
        raise InputError(f"{label}: activations must have one scale for the whole tensor")
    quantization = Quantization(np.float32(scale.item()), int(zero_point.item()))
    value = draft.origins.get(name, name)
    if draft.scales.setdefault(value, quantization) != quantization:
        raise InputError(f"{label}: {value} is rounded twice, differently; round it once")
    draft.origins[output] = value


def _fold(weight: Constant, scale: Array, zero_point: Array, label: str) -> Constant:
    """Round float weights to codes −127..127 with one scale for each index of axis 0."""
    if scale.size not in (1, *weight.data.shape[:1]) or zero_point.any():
        raise InputError(f"{label}: weights need a scale per output channel and zero points of 0")
    scales = _by_channel(scale, weight)
    column = scales.reshape(-1, *[1] * (weight.data.ndim - 1))
    codes = np.clip(np.rint(weight.data / column), -127, 127).astype(np.int8)
    return Constant(codes, scales)


def _read_dequantize(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    name, output = node.input[0], node.output[0]
    scale = np.asarray(draft.constant(node, 1, label).data)
    if name in draft.constants:
        codes = draft.constants[name]
        if codes.data.dtype != np.int8:
            raise InputError(f"{label}: {name} is {codes.data.dtype}; store weights as int8")
        if codes.scale is not None and not np.array_equal(codes.scale, _by_channel(scale, codes)):
            raise InputError(f"{label}: {name} was rounded with another scale; export it again")
        draft.constants[output] = Constant(codes.data, _by_channel(scale, codes))
    elif name in draft.origins:
        value = draft.origins[name]
        zero_point = draft.constant(node, 2, label).data
        if draft.scales[value] != Quantization(np.float32(scale.item()), int(zero_point.item())):
            raise InputError(f"{label}: {value} was rounded with another scale; export it again")
        draft.origins[output] = value
    else:
        raise InputError(f"{label} does not follow a QuantizeLinear; convert the float-input file")


def _by_channel(scale: Array, weight: Constant) -> Array:
    """A scale for each index of axis 0, from that or from one for all."""
    channels = weight.data.shape[0] if weight.data.ndim else 1
    return np.array(np.broadcast_to(scale.reshape(-1), (channels,)))


def _read_relu(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    _append(draft, node, "Clip", (node.input[0],), clamp=(0.0, math.inf))


def _read_clip(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    bounds = [-math.inf, math.inf]
    for index in (1, 2):
        if index < len(node.input) and node.input[index]:
            bounds[index - 1] = float(draft.constant(node, index, label).data)
    _append(draft, node, "Clip", (node.input[0],), clamp=(bounds[0], bounds[1]))


def _read_reshape(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    shape, target = draft.shape(node.input[0]), draft.shapes[node.output[0]]
    if target != (1, math.prod(shape)):
        raise InputError(
            f"{label} turns {list(shape)} into {list(target)}; "
            f"only flattening to [1, {math.prod(shape)}] can be converted"
        )
    _append(draft, node, "Flatten", (node.input[0],))


def _read_mean(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    rank = len(draft.shape(node.input[0]))
    axes = sorted(int(a) % rank for a in draft.constant(node, 1, label).data)
    if axes != [2, 3] or rank != 4:
        raise InputError(
            f"{label} averages axes {axes} of {rank}; only the mean over height and width "
            "of [1, C, H, W] can be converted"
        )
    _append(draft, node, "GlobalAveragePool", (node.input[0],))


def _read_window(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """Conv, MaxPool or AveragePool over height and width, with every attribute spelled out."""
    size = draft.shape(node.input[0])[2:]
    if len(size) != 2:
        raise InputError(f"{label}: only [1, C, H, W] can be converted; use the 2-D operator")
    given = _attributes(node)
    if given.pop("auto_pad", b"NOTSET") != b"NOTSET":
        raise InputError(f"{label} has auto_pad; export with explicit padding")
    spelled = {"strides": [1, 1], "pads": [0, 0, 0, 0]} | given
    if node.op_type != "AveragePool":  # which has no dilations in this operator set
        spelled = {"dilations": [1, 1]} | spelled
    if node.op_type == "Conv":
        spelled = {"group": 1} | spelled
        _check_layer(draft, node, label, channels=draft.shape(node.input[0])[1] // spelled["group"])
    if node.op_type == "AveragePool" and any(spelled["pads"]):
        raise InputError(f"{label} has padding, which runtimes count differently; pad before it")
    if node.op_type == "AveragePool" and tuple(spelled["kernel_shape"]) == size:
        _append(draft, node, "GlobalAveragePool", tuple(node.input))
        return
    _append(draft, node, node.op_type, tuple(node.input), spelled)


def _read_gemm(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    given = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | _attributes(node)
    if given != {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}:
        raise InputError(f"{label} has {given}; only x·Wᵀ + b (transB = 1) can be converted")
    _check_layer(draft, node, label, channels=draft.shape(node.input[0])[1])
    _append(draft, node, "Gemm", tuple(node.input), given)


def _check_layer(draft: Draft, node: onnx.NodeProto, label: str, *, channels: int) -> None:
    """Shape inference lets a weight or bias pass that does not fit the input."""
    weight = draft.constant(node, 1, label).data
    if weight.shape[1:2] != (channels,):
        raise InputError(
            f"{label}: its weight {list(weight.shape)} does not fit {channels} input channels; "
            "export the network again"
        )
    if len(node.input) > 2 and draft.constant(node, 2, label).data.shape != weight.shape[:1]:
        raise InputError(f"{label}: its bias does not fit its weight; export the network again")


Reader = Callable[[Draft, onnx.NodeProto, str], None]

READERS: dict[str, Reader] = {
    "AveragePool": _read_window,
    "Clip": _read_clip,
    "Constant": _read_constant,
    "Conv": _read_window,
    "DequantizeLinear": _read_dequantize,
    "Dropout": _read_identity,
    "Flatten": _read_reshape,
    "Gemm": _read_gemm,
    "Identity": _read_identity,
    "MaxPool": _read_window,
    "QuantizeLinear": _read_quantize,
    "ReduceMean": _read_mean,
    "Relu": _read_relu,
    "Reshape": _read_reshape,
}
