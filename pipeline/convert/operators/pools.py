"""Maxima and averages over height and width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from device_runner.errors import InputError
from pipeline.convert.graph import Operator
from pipeline.convert.onnx_draft import OnnxDraft
from pipeline.convert.operators.kind import Kind, plain
from pipeline.convert.operators.reading import Draft, Reader, append, attributes
from pipeline.convert.operators.windows import spelled_window
from pipeline.convert.tflite_clamp import activation, append_clamp
from pipeline.convert.tflite_draft import TfliteDraft
from pipeline.convert.tflite_padding import pad_input

B = schema.BuiltinOperator


def _read_max_pool(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    window = spelled_window(draft, node, label)
    spelled = {"dilations": [1] * len(window["strides"]), **window}
    append(draft, node, "MaxPool", tuple(node.input), spelled)


def _read_average_pool(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    spelled = spelled_window(draft, node, label)
    if any(spelled["pads"]):
        raise InputError(f"{label} has padding, which runtimes count differently; pad before it")
    if tuple(spelled["kernel_shape"]) == draft.shape(node.input[0])[2:]:
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
    """AVERAGE_POOL_2D; float32 only, because `read_graph` turns int8 ones into convolutions."""
    _pool(draft, operator, B.AVERAGE_POOL_2D, fill="zero")


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
    "AveragePool": Kind(average_pool, clips=True),
    "GlobalAveragePool": Kind(global_average, write_global_average, clips=True),
    "MaxPool": Kind(max_pool, clips=True, keeps_codes=True),
}
