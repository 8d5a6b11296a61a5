"""Stored indices of one axis."""

from __future__ import annotations

import itertools
import math
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
)
from edgeticket.pipeline.operators.slices import cut, select

B = schema.BuiltinOperator


def index_constants(draft: Draft, self: str, axis: int, indices: Any) -> str:
    """Stored indices of one axis: a Slice where they are evenly spaced, else Gather."""
    numbers = np.asarray(indices)
    shape = draft.shape(self)
    axis %= len(shape)
    flat = [int(n) % shape[axis] for n in numbers.reshape(-1)]
    if numbers.ndim == 0:
        return select(draft, self, axis, flat[0])
    steps = {b - a for a, b in itertools.pairwise(flat)} or {1}
    step = steps.pop() if len(steps) == 1 else 0
    if numbers.ndim == 1 and step > 0:
        return cut(draft, self, axis, flat[0], flat[-1] + 1, step)
    if numbers.ndim == 1:
        return draft.add("Gather", self, axis=axis, indices=flat)
    long = draft.add("Gather", self, suffix="gather", axis=axis, indices=flat)
    return reshape(draft, long, [*shape[:axis], *numbers.shape, *shape[axis + 1 :]])


def _aten_index(draft: Draft, self: str, indices: Sequence[Any]) -> str:
    used = [(axis, name) for axis, name in enumerate(indices) if name]
    axes = [axis for axis, _ in used]
    is_table = draft.is_constant(self) and axes == [0]
    if is_table and not draft.is_constant(used[0][1]):
        return draft.add("Embedding", self, used[0][1])
    arrays = [draft.array(name, "its indices") for _, name in used]
    if any(numbers.dtype == bool and numbers.ndim > 1 for numbers in arrays):
        raise draft.refuse("is indexed by a mask of several axes: use where")
    arrays = [np.flatnonzero(a) if a.dtype == bool else a for a in arrays]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise draft.refuse("is indexed on axes that are apart: index one axis at a time")
    shape = draft.shape(self)
    flat: Any = 0  # places in the indexed axes as one
    for axis, numbers in zip(axes, arrays, strict=True):
        flat = flat * shape[axis] + np.where(numbers < 0, numbers + shape[axis], numbers)
    first, last = axes[0], axes[-1] + 1
    if last - first > 1:
        merged = [*shape[:first], math.prod(shape[first:last]), *shape[last:]]
        self = as_shape(draft, self, tuple(merged), suffix="merged")
    return index_constants(draft, self, first, flat)


def _onnx_gather(draft: Draft, x: str, indices: str, *, axis: int = 0) -> str:
    if draft.is_constant(x) and not draft.is_constant(indices):
        return draft.add("Embedding", x, indices)
    return index_constants(draft, x, axis, draft.array(indices, "its indices"))


def _gather_shape(attributes: Attributes, shape: Shape) -> Shape:
    axis = attributes["axis"]
    return (*shape[:axis], len(attributes["indices"]), *shape[axis + 1 :])


def _gather_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    return x.index_select(attributes["axis"], torch.tensor(attributes["indices"], device=x.device))


def write_gather_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """GATHER."""
    name = operator.inputs[0]
    order = draft.order(name)
    source, output = draft.stored(name), draft.ordered(operator.output, order)
    options = schema.GatherOptionsT()
    options.axis = order.index(operator.attributes["axis"])
    indices = np.array(operator.attributes["indices"], np.int32)
    inputs = [source, draft.constant(f"{operator.name}.indices", indices)]
    draft.append(B.GATHER, inputs, output, options, version=draft.version(operator, int8=2))


def write_gather(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Gather of stored indices."""
    indices = draft.integers(operator.attributes["indices"])
    draft.node("Gather", [*inputs, indices], output, {"axis": operator.attributes["axis"]})


ATEN: dict[str, Reader] = {
    "index": _aten_index,
    "index_select": lambda draft, self, dim, index: index_constants(
        draft, self, dim, draft.array(index, "its indices")
    ),
}


ONNX: dict[str, Reader] = {
    "Gather": _onnx_gather,
}


KINDS: dict[str, Kind] = {
    "Gather": Kind(
        write_gather_tflite,
        _gather_meaning,
        _gather_shape,
        Role.SAME,
        write_gather,
        dtype=SAME_DTYPE,
        channels=passing_axes.gathered,
        conditions="stored indices of one axis",
    ),
}
