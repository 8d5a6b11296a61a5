"""Nodes that leave no operator behind: constants, copies, QuantizeLinear and its inverse."""

from __future__ import annotations

import numpy as np
import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Array, Constant, Quantization
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, read_array


def _read_constant(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    (attribute,) = node.attribute
    if attribute.name != "value":
        raise InputError(f"{label}: {attribute.name} cannot be converted; give a tensor")
    draft.constants[node.output[0]] = Constant(read_array(attribute.t))


def read_identity(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    name = node.input[0]
    if name in draft.constants:
        draft.constants[node.output[0]] = draft.constants[name]
    else:
        draft.origins[node.output[0]] = draft.origins.get(name, name)


def _read_quantize(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    name, output = node.input[0], node.output[0]
    scale = np.asarray(draft.constant(node, 1, label).data)
    if scale.dtype != np.float32 or not (np.isfinite(scale) & (scale > 0)).all():
        raise InputError(f"{label}: scales must be positive float32; export it with such")
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
    with np.errstate(over="ignore"):  # infinity saturates like any other number
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


READERS: dict[str, Reader] = {
    "Constant": _read_constant,
    "DequantizeLinear": _read_dequantize,
    "Dropout": read_identity,
    "Identity": read_identity,
    "QuantizeLinear": _read_quantize,
}
