"""ONNX operator -> step of a program: one function each, in a dictionary at the foot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx

from edgeticket.pipeline.onnx_import import arithmetic, axes
from edgeticket.pipeline.onnx_import.attributes import attributes
from edgeticket.pipeline.onnx_import.draft import Draft
from edgeticket.pipeline.onnx_import.source import Array
from edgeticket.pipeline.onnx_import.windows import window_of

Reader = Callable[[Draft, onnx.NodeProto], None]

HIGHEST = float(np.finfo(np.float32).max)


def _convolution(draft: Draft, node: onnx.NodeProto) -> None:
    weight, bias = _weights(draft, node)
    window = window_of(draft, node, weight.shape[2:])
    given = {"group": 1} | attributes(node)
    settings = {
        "in_channels": weight.shape[1] * given["group"],
        "out_channels": weight.shape[0],
        "kernel_size": list(weight.shape[2:]),
        "stride": window.strides,
        "padding": window.padding,
        "dilation": window.dilations,
        "groups": given["group"],
        "bias": bias is not None,
    }
    draft.append(node, "convolution", [window.source], settings, _tensors(weight, bias))


def _gemm(draft: Draft, node: onnx.NodeProto) -> None:
    given = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | attributes(node)
    if given["transA"]:
        raise draft.refuse(node, "turns its input round (transA): export it with a linear layer")
    weight, bias = _weights(draft, node)
    matrix = (weight if given["transB"] else weight.T) * np.float32(given["alpha"])
    if bias is not None:
        bias = np.broadcast_to(bias * np.float32(given["beta"]), (1, len(matrix)))[0]
    _linear(draft, node, matrix, bias)


def _matrix_product(draft: Draft, node: onnx.NodeProto) -> None:
    right = draft.source.constants.get(node.input[1])
    if right is None:
        draft.append(node, "matrix_product", node.input)
    elif right.ndim == 2:
        _linear(draft, node, right.T, None)
    else:
        raise draft.refuse(node, f"multiplies by a constant of {right.ndim} axes: use a layer")


def _linear(draft: Draft, node: onnx.NodeProto, matrix: Array, bias: Array | None) -> None:
    rows, columns = matrix.shape
    settings = {"in_features": columns, "out_features": rows, "bias": bias is not None}
    draft.append(node, "linear", node.input[:1], settings, _tensors(matrix, bias))


def _weights(draft: Draft, node: onnx.NodeProto) -> tuple[Array, Array | None]:
    weight = draft.constant(node, 1)
    if weight is None:
        raise draft.refuse(node, "has no weights: export it with the weights inside")
    return weight, draft.constant(node, 2)


def _tensors(weight: Array, bias: Array | None) -> dict[str, Array]:
    return {"weight": weight} | ({} if bias is None else {"bias": bias})


def _batch_norm(draft: Draft, node: onnx.NodeProto) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: draft.constant(node, i + 1) for i, name in enumerate(names)}
    stored = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    given = {"epsilon": 1e-5, "training_mode": 0} | attributes(node)
    if given["training_mode"] or len(node.output) != 1:
        raise draft.refuse(node, "is in training mode: export the network in evaluation mode")
    rank = len(draft.shape(node.input[0]))
    settings = {"channels": len(stored["weight"]), "eps": given["epsilon"], "axes": rank}
    draft.append(node, "batch_norm", node.input[:1], settings, stored)


def _layer_norm(draft: Draft, node: onnx.NodeProto) -> None:
    _last_axis(draft, node)
    weight, bias = _weights(draft, node)
    eps = ({"epsilon": 1e-5} | attributes(node))["epsilon"]
    settings = {"normalized_shape": list(weight.shape), "eps": eps, "bias": bias is not None}
    draft.append(node, "layer_norm", node.input[:1], settings, _tensors(weight, bias))


def _softmax(draft: Draft, node: onnx.NodeProto) -> None:
    _last_axis(draft, node)
    draft.append(node, "softmax", node.input, {"dim": -1})


def _last_axis(draft: Draft, node: onnx.NodeProto) -> None:
    rank = len(draft.shape(node.input[0]))
    axis = ({"axis": -1} | attributes(node))["axis"]
    if axis % rank != rank - 1:
        raise draft.refuse(node, f"works along axis {axis} of {rank}: only the last can be written")


def _clamp(draft: Draft, node: onnx.NodeProto) -> None:
    low, high = (draft.constant(node, i) for i in (1, 2))
    if low is not None and float(low) == 0 and (high is None or float(high) >= HIGHEST):
        draft.append(node, "relu", node.input[:1])
    elif low is None or high is None:
        raise draft.refuse(node, "has one bound: give both, or use a ReLU")
    else:
        settings = {"low": float(low), "high": float(high)}
        draft.append(node, "clamp", node.input[:1], settings)


def _hard_sigmoid(draft: Draft, node: onnx.NodeProto) -> None:
    given = {"alpha": 0.2, "beta": 0.5} | attributes(node)
    if not (math.isclose(given["alpha"], 1 / 6, rel_tol=1e-5) and given["beta"] == 0.5):
        raise draft.refuse(node, f"has {given}: only relu6(x + 3) / 6 (alpha 1/6, beta 1/2) can be")
    draft.append(node, "hard_sigmoid", node.input)


def _gelu(draft: Draft, node: onnx.NodeProto) -> None:
    approximate = ({"approximate": b"none"} | attributes(node))["approximate"]
    draft.append(node, "gelu", node.input, {"approximate": approximate.decode()})


def _pool(draft: Draft, node: onnx.NodeProto) -> None:
    given = {"ceil_mode": 0, "count_include_pad": 0} | attributes(node)
    maximum = node.op_type == "MaxPool"
    window = window_of(draft, node, given["kernel_shape"], pads_alone=not maximum)
    if set(window.dilations) != {1} or len(window.strides) != 2:
        raise draft.refuse(node, "is dilated, or not over height and width: that cannot be written")
    counts = bool(given["count_include_pad"])
    if window.source != node.input[0] and not counts:
        raise draft.refuse(node, "pads one side more than the other: pad both alike")
    settings = {
        "kernel_size": given["kernel_shape"],
        "stride": window.strides,
        "padding": window.padding,
        "ceil_mode": bool(given["ceil_mode"]),
    }
    if maximum:
        draft.append(node, "max_pool", [window.source], settings)
    else:
        settings["count_include_pad"] = counts
        draft.append(node, "average_pool", [window.source], settings)


def _global_average_pool(draft: Draft, node: onnx.NodeProto) -> None:
    if len(draft.shape(node.input[0])) == 4:
        draft.append(node, "global_average_pool", node.input)
    else:
        draft.append(node, "mean", node.input, {"dim": [2], "keepdim": True})


def _mean(draft: Draft, node: onnx.NodeProto) -> None:
    along = draft.constant(node, 1)
    if along is None:
        raise draft.refuse(node, "averages over everything: name the axes")
    count = len(draft.shape(node.input[0]))
    dims = sorted(int(axis) % count for axis in along.reshape(-1))
    if 0 in dims:
        raise draft.refuse(node, "averages over the batch: leave that out")
    keep = bool(({"keepdims": 1} | attributes(node))["keepdims"])
    draft.append(node, "mean", node.input[:1], {"dim": dims, "keepdim": keep})


def _relu(draft: Draft, node: onnx.NodeProto) -> None:
    draft.append(node, "relu", node.input)


def _hard_swish(draft: Draft, node: onnx.NodeProto) -> None:
    draft.append(node, "hard_swish", node.input)


def _alias(draft: Draft, node: onnx.NodeProto) -> None:
    draft.alias(node)


OPERATORS: Mapping[str, Reader] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clamp,
    "Conv": _convolution,
    "Dropout": _alias,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _alias,
    "LayerNormalization": _layer_norm,
    "MatMul": _matrix_product,
    "MaxPool": _pool,
    "ReduceMean": _mean,
    "Relu": _relu,
    "Softmax": _softmax,
    **arithmetic.OPERATORS,
    **axes.OPERATORS,
}
