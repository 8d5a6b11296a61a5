"""Tensors joined, stacked, repeated, rolled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE, Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing_axes
from edgeticket.pipeline.operators.axes import as_shape, reshape
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Role,
    Shape,
    broadcast_shape,
)
from edgeticket.pipeline.operators.slices import cut

B = schema.BuiltinOperator


def concat(draft: Draft, tensors: Sequence[str], dim: int = 0) -> str:
    """Concat; what is empty is left out."""
    kept = [name for name in tensors if 0 not in draft.shape(name)]
    if len(kept) == 1:
        return kept[0]
    return draft.add("Concat", *kept, axis=dim % draft.rank(kept[0]))


def stack(draft: Draft, tensors: Sequence[str], dim: int = 0) -> str:
    """Concat along a new axis."""
    rank = draft.rank(tensors[0]) + 1
    axis = dim % rank
    wide = []
    for i, name in enumerate(tensors):
        shape = list(draft.shape(name))
        target = [*shape[:axis], 1, *shape[axis:]]
        if draft.is_constant(name):
            wide.append(reshape(draft, name, target))
        else:
            wide.append(as_shape(draft, name, tuple(target), suffix=f"part{i}"))
    return concat(draft, wide, axis)


def roll(draft: Draft, self: str, shifts: Any, dims: Any = ()) -> str:
    """Two slices of an axis change places, for each axis."""
    amounts = [shifts] if isinstance(shifts, int) else list(shifts)
    axes = [dims] if isinstance(dims, int) else list(dims)
    if len(axes) != len(amounts):
        raise draft.refuse("rolls the flattened tensor: name the axes")
    for i, (amount, axis) in enumerate(zip(amounts, axes, strict=True)):
        size = draft.shape(self)[axis]
        at = -amount % size
        if at:
            parts = [
                cut(draft, self, axis, at, None, suffix=f"back{i}"),
                cut(draft, self, axis, 0, at, suffix=f"front{i}"),
            ]
            last = i == len(amounts) - 1
            self = draft.add(
                "Concat", *parts, suffix="" if last else f"axis{i}", axis=axis % draft.rank(self)
            )
    return self


def repeat(draft: Draft, self: str, repeats: Sequence[int]) -> str:
    """As many copies side by side along each axis."""
    more = len(repeats) - draft.rank(self)
    if more:
        self = reshape(draft, self, [*[1] * more, *draft.shape(self)])
    for axis, times in enumerate(repeats):
        if int(times) > 1:
            self = draft.add("Concat", *[self] * int(times), axis=axis)
    return self


def expand(draft: Draft, self: str, size: Sequence[int]) -> str:
    """Axes of size 1 repeated; −1 and the batch stay."""
    more = len(size) - draft.rank(self)
    shape = [*[1] * more, *draft.shape(self)]
    if more:
        self = reshape(draft, self, shape)
    wanted = [n if int(w) < 0 else int(w) for n, w in zip(shape, size, strict=True)]
    if tuple(wanted) == tuple(shape):
        return self
    if draft.is_constant(self):
        return draft.constant(np.ascontiguousarray(np.broadcast_to(draft.array(self), wanted)))
    return repeat(draft, self, [w // n for n, w in zip(shape, wanted, strict=True)])


def _onnx_concat(draft: Draft, *tensors: str, axis: int) -> str:
    return concat(draft, tensors, axis)


def _onnx_expand(draft: Draft, x: str, shape: str) -> str:
    wanted = [int(n) for n in np.ravel(draft.array(shape, "its shape"))]
    given = draft.shape(x)
    wanted = [1] * (len(given) - len(wanted)) + wanted
    wide = [1] * (len(wanted) - len(given)) + list(given)
    return expand(draft, x, [max(a, b) for a, b in zip(wide, wanted, strict=True)])


def _onnx_tile(draft: Draft, x: str, repeats: str) -> str:
    return repeat(draft, x, [int(n) for n in np.ravel(draft.array(repeats, "its repeats"))])


def _concat_shape(attributes: Attributes, *shapes: Shape) -> Shape:
    axis = attributes["axis"]
    if {(*s[:axis], *s[axis + 1 :]) for s in shapes} != {
        (*shapes[0][:axis], *shapes[0][axis + 1 :])
    }:
        raise ValueError(f"shapes {[list(s) for s in shapes]} differ beside axis {axis}")
    outer = broadcast_shape({}, *((*s[:axis], 1, *s[axis + 1 :]) for s in shapes))
    return (*outer[:axis], sum(s[axis] for s in shapes), *outer[axis + 1 :])


def _concat_meaning(torch: Any, attributes: Attributes, *values: Any) -> Any:
    """Stored numbers are repeated for each example."""
    axis = attributes["axis"]
    sizes = [max(v.shape[i] for v in values) for i in range(values[0].ndim)]
    sizes[axis] = -1
    return torch.cat([v.expand(sizes) for v in values], axis)


def write_concat_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """CONCATENATION."""
    values = [name for name in operator.inputs if name in draft.graph.values]
    order = draft.order(values[0])
    output = draft.ordered(operator.output, order)
    options = schema.ConcatenationOptionsT()
    options.axis = order.index(operator.attributes["axis"])
    constants = draft.graph.constants
    inputs = [
        draft.constant(f"{operator.name}.{name}", constants[name].data.transpose(order))
        if name in constants
        else draft.ordered(name, order)
        for name in operator.inputs
    ]
    draft.append(B.CONCATENATION, inputs, output, options, version=draft.version(operator, int8=2))


def write_concat(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Concat."""
    draft.node("Concat", inputs, output, operator.attributes)


ATEN: dict[str, Reader] = {
    "cat": concat,
    "concat": concat,
    "concatenate": concat,
    "expand": lambda draft, self, size, implicit=False: expand(draft, self, size),
    "repeat": repeat,
    "roll": roll,
    "stack": stack,
    "tile": lambda draft, self, dims: repeat(draft, self, dims),
}


ONNX: dict[str, Reader] = {
    "Concat": _onnx_concat,
    "Expand": _onnx_expand,
    "Tile": _onnx_tile,
}


KINDS: dict[str, Kind] = {
    "Concat": Kind(
        write_concat_tflite,
        _concat_meaning,
        _concat_shape,
        Role.JOIN,
        write_concat,
        dtype=SAME_DTYPE,
        channels=passing_axes.joined,
        conditions="int8: inputs of one scale; else, and with stored numbers, in float32",
    ),
}
