"""Norms: by stored statistics, of layers, groups, instances, and by the root of a mean square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing, passing_layers
from edgeticket.pipeline.operators.axes import as_shape, reshape
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
)

B = schema.BuiltinOperator


def layer_norm_of(
    draft: Draft, source: str, axes: int, weight: str, bias: str, epsilon: float
) -> str:
    """LayerNormalization over the last ``axes`` axes; several are merged for the while."""
    shape = draft.shape(source)
    if axes == 1:
        return _norm(draft, source, weight, bias, epsilon)
    size = math.prod(shape[-axes:])
    merged = reshape(draft, source, [*shape[:-axes], size])
    scale, shift = (
        draft.constant(draft.array(n).reshape(size), n) if n else "" for n in (weight, bias)
    )
    return reshape(draft, _norm(draft, merged, scale, shift, epsilon), list(shape))


def _norm(draft: Draft, source: str, weight: str, bias: str, epsilon: float) -> str:
    size = draft.shape(source)[-1]
    for name in filter(None, (weight, bias)):
        if draft.array(name, "its scale or bias").shape != (size,):
            raise draft.refuse(f"has a scale or bias that does not fit {size} numbers")
    weight = weight or draft.constant(np.ones(size, np.float32), f"{draft.step}_weight")
    inputs = [source, weight, *([bias] if bias else [])]
    return draft.add("LayerNormalization", *inputs, axis=-1, epsilon=float(epsilon))


def group_norm_of(
    draft: Draft, source: str, groups: int, weight: str, bias: str, epsilon: float
) -> str:
    """A layer norm of each group of channels, then a scale and a shift for each channel."""
    shape = draft.shape(source)
    size = math.prod(shape[1:]) // groups
    merged = as_shape(draft, source, (shape[0], groups, size), suffix="groups")
    ones = draft.constant(np.ones(size, np.float32), f"{draft.step}_ones")
    normal = draft.add(
        "LayerNormalization", merged, ones, suffix="normal", axis=-1, epsilon=float(epsilon)
    )
    found = as_shape(draft, normal, shape, suffix="map")
    column = (-1, *[1] * (len(shape) - 2))
    for kind, name, label in (("Mul", weight, "weight"), ("Add", bias, "bias")):
        if name:
            numbers = draft.constant(draft.array(name).reshape(column), f"{draft.step}_{label}")
            found = draft.add(kind, found, numbers, suffix="" if kind == "Add" else "scaled")
    return found


def rms_norm(draft: Draft, source: str, axes: int, weight: str, epsilon: float) -> str:
    """x / √(mean(x²) + ε) · weight (Zhang & Sennrich 2019)."""
    rank = draft.rank(source)
    square = draft.add("Mul", source, source, suffix="square")
    over = list(range(rank - axes, rank))
    mean = draft.add("ReduceMean", square, suffix="mean", axes=over, keepdims=1)
    positive = draft.add("Add", mean, draft.number(epsilon), suffix="positive")
    root = draft.add("Sqrt", positive, suffix="root")
    normal = draft.add("Div", source, root, suffix="" if not weight else "normal")
    return draft.add("Mul", normal, weight) if weight else normal


def batch_norm_of(
    draft: Draft, source: str, weight: str, bias: str, mean: str, variance: str, epsilon: float
) -> str:
    """BatchNormalization by stored statistics; folding makes a layer of it."""
    if not (mean and variance):
        raise draft.refuse("has no running statistics: it must have them to be evaluated")
    channels = draft.shape(mean)[0]
    weight = weight or draft.constant(np.ones(channels, np.float32), f"{draft.step}_weight")
    bias = bias or draft.constant(np.zeros(channels, np.float32), f"{draft.step}_bias")
    return draft.add(
        "BatchNormalization", source, weight, bias, mean, variance, epsilon=float(epsilon)
    )


def _aten_layer_norm(
    draft: Draft,
    input: str,
    normalized_shape: Sequence[int],
    weight: str = "",
    bias: str = "",
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> str:
    return layer_norm_of(draft, input, len(normalized_shape), weight, bias, eps)


def _aten_batch_norm(
    draft: Draft,
    input: str,
    weight: str,
    bias: str,
    running_mean: str,
    running_var: str,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> str:
    if training:
        raise draft.refuse("normalises by the batch: it must have running statistics")
    return batch_norm_of(draft, input, weight, bias, running_mean, running_var, eps)


def _aten_group_norm(
    draft: Draft,
    input: str,
    num_groups: int,
    weight: str = "",
    bias: str = "",
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> str:
    return group_norm_of(draft, input, num_groups, weight, bias, eps)


def _aten_instance_norm(
    draft: Draft,
    input: str,
    weight: str,
    bias: str,
    running_mean: str,
    running_var: str,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> str:
    if not use_input_stats:
        return batch_norm_of(draft, input, weight, bias, running_mean, running_var, eps)
    return group_norm_of(draft, input, draft.shape(input)[1], weight, bias, eps)


def _native_batch_norm(
    draft: Draft,
    input: str,
    weight: str,
    bias: str,
    running_mean: str,
    running_var: str,
    momentum: float,
    eps: float,
) -> list[str]:
    return [batch_norm_of(draft, input, weight, bias, running_mean, running_var, eps)]


def _native_group_norm(
    draft: Draft, input: str, weight: str, bias: str, *, group: int, eps: float, **_: Any
) -> list[str]:
    return [group_norm_of(draft, input, group, weight, bias, eps)]


def _aten_rms_norm(
    draft: Draft, input: str, normalized_shape: Sequence[int], weight: str = "", eps: Any = None
) -> str:
    epsilon = float(np.finfo(np.float32).eps) if eps is None else eps
    return rms_norm(draft, input, len(normalized_shape), weight, epsilon)


def _onnx_layer_norm(
    draft: Draft,
    x: str,
    scale: str,
    bias: str = "",
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> str:
    if stash_type != 1:
        raise draft.refuse(f"reckons in another type ({stash_type}): export it in float32")
    rank = draft.rank(x)
    return layer_norm_of(draft, x, rank - axis % rank, scale, bias, epsilon)


def _onnx_batch_norm(
    draft: Draft,
    x: str,
    scale: str,
    bias: str,
    mean: str,
    variance_: str,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,  # of training alone
    training_mode: int = 0,
) -> str:
    if training_mode:
        raise draft.refuse("is in training mode: export the network in evaluation mode")
    return batch_norm_of(draft, x, scale, bias, mean, variance_, epsilon)


def _onnx_group_norm(
    draft: Draft,
    x: str,
    scale: str,
    bias: str,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> str:
    if stash_type != 1:
        raise draft.refuse(f"reckons in another type ({stash_type}): export it in float32")
    channels = draft.shape(x)[1]
    if draft.shape(scale) != (channels,):  # operator set 18 has one for each group
        scale, bias = (
            draft.constant(np.repeat(draft.array(n), channels // num_groups)) for n in (scale, bias)
        )
    return group_norm_of(draft, x, num_groups, scale, bias, epsilon)


def _onnx_instance_norm(
    draft: Draft, x: str, scale: str, bias: str, *, epsilon: float = 1e-5
) -> str:
    return group_norm_of(draft, x, draft.shape(x)[1], scale, bias, epsilon)


def _norm_meaning(torch: Any, attributes: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, attributes["epsilon"])


def _batch_norm_meaning(
    torch: Any, attributes: Attributes, x: Any, weight: Any, bias: Any, mean: Any, variance_: Any
) -> Any:
    return torch.nn.functional.batch_norm(
        x, mean, variance_, weight, bias, False, 0.0, attributes["epsilon"]
    )


def layer_norm(draft: TfliteDraft, operator: Operator) -> None:
    """(x − mean) · rsqrt(mean((x − mean)²) + ε) · scale + bias, an operator for each."""
    source, output = draft.last_axis_last(operator)
    shape = draft.shape(source)
    column = (*shape[:-1], 1)

    def step(
        code: int, inputs: list[int], label: str, shape: tuple[int, ...], options: object = None
    ) -> int:
        result = output if not label else draft.like(source, f"{operator.name}.{label}", shape)
        draft.append(code, inputs, result, options, version=1)
        return result

    def number(label: str, data: object) -> int:
        return draft.constant(f"{operator.name}.{label}", np.asarray(data))

    over = schema.ReducerOptionsT()
    over.keepDims = True
    axis = number("axis", np.array([len(shape) - 1], np.int32))
    epsilon = number("epsilon", np.array([operator.attributes["epsilon"]], np.float32))
    mean = step(B.MEAN, [source, axis], "mean", column, over)
    centred = step(B.SUB, [source, mean], "centred", shape, schema.SubOptionsT())
    squares = step(B.MUL, [centred, centred], "squares", shape, schema.MulOptionsT())
    variance = step(B.MEAN, [squares, axis], "variance", column, over)
    positive = step(B.ADD, [variance, epsilon], "positive", column, schema.AddOptionsT())
    factor = step(B.RSQRT, [positive], "factor", column)
    result = step(B.MUL, [centred, factor], "normal", shape, schema.MulOptionsT())
    affine = [(B.MUL, "scale", schema.MulOptionsT()), (B.ADD, "bias", schema.AddOptionsT())]
    names = operator.inputs[1:]
    for i, (name, (code, label, options)) in enumerate(zip(names, affine, strict=False)):
        constant = number(label, draft.graph.constants[name].data)
        last = i == len(names) - 1
        result = step(code, [result, constant], "" if last else "scaled", shape, options)


ATEN: dict[str, Reader] = {
    "_native_batch_norm_legit_no_training": _native_batch_norm,
    "native_group_norm": _native_group_norm,
    "native_layer_norm": lambda draft, *values, **more: [_aten_layer_norm(draft, *values, **more)],
    "batch_norm": _aten_batch_norm,
    "group_norm": _aten_group_norm,
    "instance_norm": _aten_instance_norm,
    "layer_norm": _aten_layer_norm,
    "rms_norm": _aten_rms_norm,
}


ONNX: dict[str, Reader] = {
    "BatchNormalization": _onnx_batch_norm,
    "GroupNormalization": _onnx_group_norm,
    "InstanceNormalization": _onnx_instance_norm,
    "LayerNormalization": _onnx_layer_norm,
}


KINDS: dict[str, Kind] = {
    "BatchNormalization": Kind(
        None,
        _batch_norm_meaning,
        channels=passing_layers.batch_norm,
        conditions="folded into a layer, or a depthwise convolution",
    ),
    "LayerNormalization": Kind(
        layer_norm,
        _norm_meaning,
        channels=passing.normalised,
        conditions="last axes; int8: sums of whole numbers, so that runtimes agree",
    ),
}
