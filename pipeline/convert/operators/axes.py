"""Splitting, merging and exchanging axes.

In TFLite files most of this costs nothing: a draft remembers in which order the axes of a value
are stored (`TfliteDraft.order`), and numbers are moved only where an operator needs them in
another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Operator
from edgeticket.pipeline.convert.onnx_draft import OnnxDraft
from edgeticket.pipeline.convert.operators.kind import Kind
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, append, attributes
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft


def _read_transpose(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    name, output = node.input[0], node.output[0]
    if name in draft.constants:
        weight = draft.constants[name].data
        if weight.ndim != 2:
            raise InputError(f"{label} works on a constant; export with constants folded")
        draft.transposes[output] = name
        return
    rank = len(draft.shape(name))
    given = {"perm": list(range(rank))[::-1]} | attributes(node)
    append(draft, node, "Transpose", (name,), given)


def _read_new_shape(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """Squeeze and Unsqueeze."""
    append(draft, node, "Reshape", (node.input[0],))


def _read_gather(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """One index of one axis: a Slice, and a Reshape that drops the axis."""
    index = draft.constant(node, 1, label).data
    if index.ndim != 0:
        raise InputError(f"{label} takes {index.size} indices; only a single one can be converted")
    shape = draft.shape(node.input[0])
    axis = {"axis": 0, **attributes(node)}["axis"] % len(shape)
    begin, size = [0] * len(shape), list(shape)
    begin[axis], size[axis] = int(index) % shape[axis], 1
    whole = f"{node.output[0]}.whole"
    draft.shapes[whole] = tuple(size)
    cut = {"begin": begin, "size": size}
    draft.operators.append(Operator(whole, "Slice", (node.input[0],), whole, cut))
    append(draft, node, "Reshape", (whole,))


def transpose(draft: TfliteDraft, operator: Operator) -> None:
    """Nothing: the same numbers under other axes."""
    (name,) = operator.inputs
    permutation = operator.attributes["perm"]
    order = tuple(permutation.index(axis) for axis in draft.order(name))
    draft.alias(operator.output, name, order)


def reshape(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE."""
    (name,) = operator.inputs
    shape = draft.graph.values[name].shape
    target = draft.graph.values[operator.output].shape
    order = reshaped_order(shape, draft.order(name), target)
    if order is None:
        source = draft.ordered(name, tuple(range(len(shape))))
        order = tuple(range(len(target)))
    else:
        source = draft.stored(name)
    output = draft.ordered(operator.output, order)
    draft.reshape(source, output)


def reshaped_order(
    shape: Sequence[int], order: tuple[int, ...], target: Sequence[int]
) -> tuple[int, ...] | None:
    """The order of ``target`` for which stored numbers need not move, or None if there is none.

    That is known where axes are stored as they are, and where some first axes behind the batch
    (the channels) are stored last, if these and the others are split and merged apart.
    """
    rank = len(shape)
    if order == tuple(range(rank)):
        return tuple(range(len(target)))
    for last in range(1, rank):
        channels_last = (0, *range(last + 1, rank), *range(1, last + 1))
        if order != channels_last or shape[0] != target[0]:
            continue
        channels = math.prod(shape[1 : last + 1])
        for count in range(1, len(target)):
            if math.prod(target[1 : count + 1]) == channels:
                return (0, *range(count + 1, len(target)), *range(1, count + 1))
    return None


def write_reshape(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Reshape to the shape of the output."""
    shape = draft.integers(draft.graph.values[operator.output].shape)
    draft.node("Reshape", [inputs[0], shape], output)


READERS: dict[str, Reader] = {
    "Gather": _read_gather,
    "Squeeze": _read_new_shape,
    "Transpose": _read_transpose,
    "Unsqueeze": _read_new_shape,
}

KINDS: dict[str, Kind] = {
    "Reshape": Kind(
        reshape,
        write_reshape,
        keeps_codes=True,
        conditions="any; Squeeze, Unsqueeze and a single index (Gather) likewise",
    ),
    "Transpose": Kind(transpose, keeps_codes=True, conditions="any"),
}
