"""What a TFLite file stores and multiplies, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.external.layers import Count, FileLayer
from edgeticket.pipeline.formats.tflite_model import is_constant, kind_of, name_of, shape_of

Shape = tuple[int, ...]
Type = schema.TensorType
REALS = (Type.FLOAT32, Type.FLOAT16, Type.FLOAT64)
CODES = (Type.INT8, Type.UINT8, Type.INT4, Type.INT16)  # wider ones are shapes and axes, or biases
BIASES = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "CONV_3D": 2}
BIASES |= {"TRANSPOSE_CONV": 3}
CALLS = ("IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE")
# Operators of their own that every LiteRT brings, without weights: anchors are no weights.
FREE = ("TFLite_Detection_PostProcess",)


def tflite_layers(model: Any) -> tuple[FileLayer, ...]:
    """Stored numbers, each once, and multiply-accumulates of a `schema.ModelT`.

    A batch that the file leaves open counts as one example.
    """
    counted: set[object] = set()
    layers = []
    for number, graph in enumerate(model.subgraphs):
        unknown = _open_sizes(graph)
        if number:
            unknown = Unavailable("it is part of a branch or a loop, which run who knows how often")
        for operator in graph.operators:
            kind = kind_of(model, operator)
            stored = _stored(model, graph, number, operator, kind, counted)
            macs = _macs(graph, operator, kind)
            if macs and unknown is not None:
                macs = unknown
            is_custom = model.operatorCodes[operator.opcodeIndex].customCode and kind not in FREE
            if is_custom:
                stored = macs = Unavailable(f"{kind} is an operator of its own")
            if stored or macs:
                name = name_of(graph.tensors[operator.outputs[0]])
                layers.append(FileLayer(name, kind, stored, macs))
    return tuple(layers)


def _stored(
    model: Any, graph: Any, number: int, operator: Any, kind: str, counted: set[object]
) -> Count:
    if kind in CALLS or kind in FREE:
        return 0
    numbers = 0
    for position, index in enumerate(operator.inputs):
        if index < 0:
            continue
        tensor = graph.tensors[index]
        is_weight = tensor.type in REALS + CODES or position == BIASES.get(kind)
        if not (is_weight and shape_of(tensor) and is_constant(model, tensor)):
            continue
        # Writers store zeros once for all biases of a size. Equal weights that are no mere zeros
        # are one weight, used twice.
        is_uniform = _is_uniform(model, tensor)
        key: object = (number, operator.outputs[0], index) if is_uniform else tensor.buffer
        if key not in counted:
            counted.add(key)
            numbers += math.prod(shape_of(tensor))
    return numbers


def _is_uniform(model: Any, tensor: Any) -> bool:
    """Whether all its numbers are the same, so that writers put unlike tensors into one buffer."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        return False
    size = max(1, len(data) // max(1, math.prod(shape_of(tensor))))
    rows = np.asarray(data, dtype=np.uint8)[: len(data) // size * size].reshape(-1, size)
    return bool((rows == rows[:1]).all())


def _open_sizes(graph: Any) -> Unavailable | None:
    """Which size of an input is open, but for the batch."""
    for index in graph.inputs:
        tensor = graph.tensors[index]
        signature = tensor.shapeSignature
        sizes = [] if signature is None else np.asarray(signature).tolist()
        for axis, size in enumerate(sizes):
            if axis and size < 0:
                return Unavailable(f"the file leaves size {axis} of {name_of(tensor)} open")
    return None


def _macs(graph: Any, operator: Any, kind: str) -> Count:
    count = MULTIPLY.get(kind)
    if count is None:
        return 0
    # What is left out, or has no shape, counts for nothing: a product over none would be one.
    inputs = [(0,) if i < 0 else shape_of(graph.tensors[i]) or (0,) for i in operator.inputs]
    output = graph.tensors[operator.outputs[0]]
    try:
        macs = count(inputs, shape_of(output) or (0,), operator)
    except (IndexError, ValueError):
        macs = 0
    if macs <= 0:
        return Unavailable(f"those of {name_of(output)} ({kind}) cannot be told from its shapes")
    return macs


def _conv(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    return math.prod(output) * math.prod(inputs[1][1:])  # [out, height, width, in]


def _depthwise(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    return math.prod(output) * math.prod(inputs[1][1:3])  # [1, height, width, out]


def _conv_3d(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    return math.prod(output) * math.prod(inputs[1][:4])  # [depth, height, width, in, out]


def _transposed(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    return math.prod(inputs[2]) * math.prod(inputs[1][:3])  # [out, height, width, in]


def _linear(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    return math.prod(output) * inputs[1][-1]


def _product(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    turned = bool(operator.builtinOptions is not None and operator.builtinOptions.adjX)
    values: int = math.prod(output)
    return values * (inputs[0][-2] if turned else inputs[0][-1])


def _lstm(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    """Its matrices, for four gates from the input and from the state, and a projection."""
    matrices: int = sum(math.prod(inputs[i]) for i in (*range(1, 9), 16))
    steps: int = math.prod(inputs[0][:-1])
    return steps * matrices


def _rnn(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    return math.prod(inputs[0][:-1]) * (math.prod(inputs[1]) + math.prod(inputs[2]))


def _uncounted(inputs: Sequence[Shape], output: Shape, operator: Any) -> int:
    raise ValueError


MULTIPLY: Mapping[str, Callable[[Sequence[Shape], Shape, Any], int]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "CONV_3D": _conv_3d,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _linear,
    "BATCH_MATMUL": _product,
    "LSTM": _lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "RNN": _rnn,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _rnn,
    **dict.fromkeys(
        (
            *("BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF"),
            *("STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL"),
        ),
        _uncounted,
    ),
}
