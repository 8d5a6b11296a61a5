"""ONNX operators on two values, or on one and stored numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx

from edgeticket.pipeline.onnx_import.draft import Draft
from edgeticket.pipeline.onnx_import.source import Array


def _add(draft: Draft, node: onnx.NodeProto) -> None:
    constant, value = _constant_and_value(draft, node)
    if constant is None:
        draft.append(node, "add", node.input)
    elif not _becomes_bias(draft, node, value, constant):
        _with_constant(draft, node, "add", value, constant)


def _subtract(draft: Draft, node: onnx.NodeProto) -> None:
    constant, value = _constant_and_value(draft, node)
    if constant is not None and value == node.input[0]:
        _with_constant(draft, node, "add", value, -constant)
        return
    negative = f"{node.output[0]} negative"
    draft.append(node, "multiply", node.input[1:], {"number": -1.0}, output=negative)
    if constant is None:
        draft.append(node, "add", [node.input[0], negative])
    else:
        _with_constant(draft, node, "add", negative, constant)


def _multiply(draft: Draft, node: onnx.NodeProto) -> None:
    constant, value = _constant_and_value(draft, node)
    if constant is None:
        draft.append(node, "multiply", node.input)
    else:
        _with_constant(draft, node, "multiply", value, constant)


def _divide(draft: Draft, node: onnx.NodeProto) -> None:
    divisor = draft.source.constants.get(node.input[1])
    if divisor is None or not divisor.all():
        raise draft.refuse(node, "divides by what is computed, or by zero: only a number can be")
    _with_constant(draft, node, "multiply", node.input[0], 1 / divisor)


def _constant_and_value(draft: Draft, node: onnx.NodeProto) -> tuple[Array | None, str]:
    """Of two inputs: the numbers of the one that is stored, and the name of the other."""
    for i in (0, 1):
        if node.input[i] in draft.source.constants:
            return draft.source.constants[node.input[i]], node.input[1 - i]
    return None, node.input[0]


def _becomes_bias(draft: Draft, node: onnx.NodeProto, value: str, constant: Array) -> bool:
    """Whether ``constant`` was made the bias of the layer before, which had none."""
    step = draft.steps.get(draft.made_by.get(value, ""))
    if step is None or step.settings.get("bias", True) or draft.readers[value] != 1:
        return False
    if step.operator not in ("linear", "convolution"):
        return False
    shape = draft.shape(value)
    axis = len(shape) - 1 if step.operator == "linear" else 1
    wanted = [1] * len(shape)
    wanted[axis] = shape[axis]
    if list((1,) * (len(shape) - constant.ndim) + constant.shape) != wanted:
        return False
    step.settings["bias"] = True
    draft.tensors[f"{step.name}.bias"] = constant.reshape(-1)
    draft.made_by[node.output[0]] = step.name
    return True


def _with_constant(
    draft: Draft, node: onnx.NodeProto, operator: str, value: str, constant: Array
) -> None:
    if constant.size == 1:
        draft.append(node, operator, [value], {"number": float(constant.item())})
        return
    rank = len(draft.shape(node.output[0]))
    if constant.ndim > rank or (constant.ndim == rank and constant.shape[0] != 1):
        raise draft.refuse(node, "mixes examples of a batch with stored numbers: leave that out")
    full = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    draft.append(node, operator, [value, draft.stored(node, full)])


OPERATORS: Mapping[str, Callable[[Draft, onnx.NodeProto], None]] = {
    "Add": _add,
    "Div": _divide,
    "Mul": _multiply,
    "Sub": _subtract,
}
