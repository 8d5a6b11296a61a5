"""Maxima and averages over height and width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Operator, Value
from edgeticket.pipeline.convert.onnx_draft import OnnxDraft
from edgeticket.pipeline.convert.operators.kind import Kind, Substitution, plain
from edgeticket.pipeline.convert.operators.layers import constant_depthwise
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, append, attributes
from edgeticket.pipeline.convert.operators.windows import ends, spelled_window
from edgeticket.pipeline.convert.tflite_clamp import activation, append_clamp
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft
from edgeticket.pipeline.convert.tflite_padding import pad_input

B = schema.BuiltinOperator


def _read_max_pool(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    window = spelled_window(draft, node, label)
    spelled = {"dilations": [1] * len(window["strides"]), **window}
    rounded_up = spelled.pop("ceil_mode", 0)
    spelled.pop("storage_order", None)  # of an output that must be absent
    if rounded_up:
        # Windows that stick out see nothing there, so that is padding like any other.
        axes = len(spelled["strides"])
        for axis, end in enumerate(ends(draft, node, spelled)):
            spelled["pads"][axis + axes] = max(end, spelled["pads"][axis + axes])
    append(draft, node, "MaxPool", tuple(node.input), spelled)


def _read_average_pool(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    spelled = {"count_include_pad": 0, **spelled_window(draft, node, label)}
    if spelled.pop("ceil_mode", 0) and any(
        end > pad for end, pad in zip(ends(draft, node, spelled), spelled["pads"][2:], strict=True)
    ):
        raise InputError(f"{label} rounds its size up (ceil_mode); pad before it, or round down")
    if not any(spelled["pads"]):
        spelled["count_include_pad"] = 1  # there is nothing to count
    if tuple(spelled["kernel_shape"]) == draft.shape(node.input[0])[2:] and not any(
        spelled["pads"]
    ):
        append(draft, node, "GlobalAveragePool", tuple(node.input))
    else:
        append(draft, node, "AveragePool", tuple(node.input), spelled)


def _read_mean(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    rank = len(draft.shape(node.input[0]))
    axes = sorted(int(a) % rank for a in draft.constant(node, 1, label).data)
    if rank == 4 and axes == [2, 3]:
        append(draft, node, "GlobalAveragePool", (node.input[0],))
    else:
        keeps = {"keepdims": 1} | attributes(node)
        append(draft, node, "Mean", (node.input[0],), {"axes": axes, "keepdims": keeps["keepdims"]})


def global_average(draft: TfliteDraft, operator: Operator) -> None:
    """MEAN over height and width; a clamp is an operator of its own behind it."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    mean = output
    if operator.clamp is not None:
        mean = draft.like(output, f"{operator.name}.mean", draft.shape(output))
    options = schema.ReducerOptionsT()
    options.keepDims = len(draft.shape(output)) == 4
    axes = draft.constant(f"{operator.name}.axes", np.array([1, 2], np.int32))
    version = draft.version(operator, int8=2)
    draft.append(B.MEAN, [source, axes], mean, options, version=version)
    if operator.clamp is not None:
        append_clamp(draft, operator, mean, output)


def write_global_average(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """GlobalAveragePool, and Flatten where the mean loses the axes."""
    if len(draft.graph.values[operator.output].shape) == 2:
        draft.node("Flatten", [draft.node("GlobalAveragePool", inputs, f"{output}.map")], output)
    else:
        plain(draft, operator, inputs, output)


def average_pool(draft: TfliteDraft, operator: Operator) -> None:
    """AVERAGE_POOL_2D, which never counts padding."""
    counted = operator.attributes["count_include_pad"]
    _pool(draft, operator, B.AVERAGE_POOL_2D, fill="zero" if counted else "none")


def _as_convolution(operator: Operator, source: Value, output: Value) -> Substitution:
    """a depthwise convolution with equal weights.

    TFLite's own integer average rounds unlike ONNX Runtime's (an eighth of 2×2 averages differ
    by one code) and cannot change the scale.
    """
    if not operator.attributes["count_include_pad"]:
        raise InputError(f"{operator} leaves padding out of its count; set count_include_pad=True")
    window = {n: operator.attributes[n] for n in ("kernel_shape", "strides", "pads")}
    weight = 1 / float(np.prod(window["kernel_shape"]))
    return constant_depthwise(operator, source, output, weight=weight, **window)


def max_pool(draft: TfliteDraft, operator: Operator) -> None:
    """MAX_POOL_2D."""
    if set(operator.attributes["dilations"]) - {1}:
        raise InputError(f"{operator}: dilated pooling; use dilation 1")
    _pool(draft, operator, B.MAX_POOL_2D, fill="lowest")


def _pool(draft: TfliteDraft, operator: Operator, code: int, *, fill: str) -> None:
    kernel = operator.attributes["kernel_shape"]
    padding, source = pad_input(draft, operator, kernel, fill=fill)
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.filterHeight, options.filterWidth = kernel
    options.strideH, options.strideW = operator.attributes["strides"]
    options.fusedActivationFunction = activation(operator)
    output = draft.value(operator.output)
    draft.append(code, [source], output, options, version=draft.version(operator, int8=2))


READERS: dict[str, Reader] = {
    "AveragePool": _read_average_pool,
    "MaxPool": _read_max_pool,
    "ReduceMean": _read_mean,
}

KINDS: dict[str, Kind] = {
    "AveragePool": Kind(
        average_pool,
        clips=True,
        rounded=_as_convolution,
        conditions="padding: counted, or in float32 as TFLite's SAME",
    ),
    "GlobalAveragePool": Kind(
        global_average,
        write_global_average,
        clips=True,
        conditions="ReduceMean over height and width likewise",
    ),
    "MaxPool": Kind(
        max_pool, clips=True, keeps_codes=True, conditions="any padding and ceil_mode; no dilation"
    ),
}
