"""Parts of a tensor: slices, splits, chunks, one index."""

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
from edgeticket.pipeline.operators.axes import is_batch, reshape
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Role,
    Shape,
)

B = schema.BuiltinOperator


LARGEST = 2**31 - 1


def cut(
    draft: Draft,
    source: str,
    axis: int,
    start: int | None,
    stop: int | None,
    step: int = 1,
    *,
    suffix: str = "",
) -> str:
    """Slice of one axis, as Python counts; nothing where all of it is taken.

    What lies in one of the parts that were concatenated is taken from that.
    """
    shape = draft.shape(source)
    axis %= len(shape)
    first, last, step = slice(start, stop, step).indices(shape[axis])
    count = len(range(first, last, step))
    if count < 1:
        raise draft.refuse(f"takes nothing of axis {axis}")
    if (first, count, step) == (0, shape[axis], 1):
        return source
    part, offset = _part(draft, source, axis, first, first + (count - 1) * step + 1)
    if part != source:
        return cut(draft, part, axis, first - offset, last - offset, step, suffix=suffix)
    begin, size, steps = [0] * len(shape), list(shape), [1] * len(shape)
    begin[axis], size[axis], steps[axis] = first, count, step
    return draft.add(
        "Slice", source, suffix=suffix, begin=begin, size=size, steps=steps, axes=[axis]
    )


def _part(draft: Draft, source: str, axis: int, first: int, last: int) -> tuple[str, int]:
    """The tensor that was concatenated to where ``source`` is read, and where that starts."""
    made = draft.made.get(source)
    if made is None or made.kind != "Concat" or made.attributes["axis"] != axis:
        return source, 0
    start = 0
    for name in made.inputs:
        size = draft.shape(name)[axis]
        if start <= first and last <= start + size and not draft.is_constant(name):
            return name, start
        start += size
    return source, 0


def select(draft: Draft, source: str, axis: int, index: int) -> str:
    """What is at ``index`` of ``axis``, which is lost."""
    shape = draft.shape(source)
    axis %= len(shape)
    if is_batch(draft, source, axis):
        raise draft.refuse("picks one example of the batch: leave the batch as it is")
    at = int(index) % shape[axis]
    whole = cut(draft, source, axis, at, at + 1, suffix="slice")
    return reshape(draft, whole, [n for i, n in enumerate(shape) if i != axis])


def split(draft: Draft, source: str, axis: int, sizes: Sequence[int]) -> list[str]:
    """A slice for each of ``sizes``, one behind the other."""
    parts, first = [], 0
    for size in sizes:
        parts.append(cut(draft, source, axis, first, first + int(size)))
        first += int(size)
    return parts


def _aten_slice(
    draft: Draft, self: str, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> str:
    return cut(draft, self, dim, start, end, step)


def _aten_split(
    draft: Draft, self: str, split_size: Any = 0, dim: int = 0, **more: Any
) -> list[str]:
    sizes = more.get("split_sizes", split_size)
    whole = draft.shape(self)[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, whole - first) for first in range(0, whole, sizes)]
    return split(draft, self, dim, sizes)


def _aten_chunk(draft: Draft, self: str, chunks: int, dim: int = 0) -> list[str]:
    whole = draft.shape(self)[dim]
    return _aten_split(draft, self, -(-whole // chunks), dim)


def _aten_unbind(draft: Draft, self: str, dim: int = 0) -> list[str]:
    return [select(draft, self, dim, i) for i in range(draft.shape(self)[dim])]


def _aten_narrow(draft: Draft, self: str, dim: int, start: Any, length: int) -> str:
    return cut(draft, self, dim, start, start + length)


def _onnx_slice(
    draft: Draft, x: str, starts: str, ends: str, axes: str = "", steps: str = ""
) -> str:
    def numbers(name: str, what: str) -> list[int]:
        return [int(n) for n in np.ravel(draft.array(name, what))]

    first, last = numbers(starts, "its starts"), numbers(ends, "its ends")
    along = numbers(axes, "its axes") if axes else list(range(len(first)))
    by = numbers(steps, "its steps") if steps else [1] * len(first)
    if any(n < 1 for n in by):
        raise draft.refuse("runs backwards: flip the weights instead")
    for i, (axis, start, stop, step) in enumerate(zip(along, first, last, by, strict=True)):
        more = i < len(along) - 1
        x = cut(draft, x, axis, start, stop, step, suffix=f"axis{axis}" if more else "")
    return x


def _onnx_split(
    draft: Draft, x: str, sizes: str = "", *, axis: int = 0, num_outputs: int = 0
) -> list[str]:
    whole = draft.shape(x)[axis]
    if sizes:
        return split(draft, x, axis, [int(n) for n in np.ravel(draft.array(sizes, "its sizes"))])
    return _aten_split(draft, x, -(-whole // num_outputs), axis)


def _slice_shape(attributes: Attributes, shape: Shape) -> Shape:
    size, axes = attributes["size"], attributes["axes"]
    return tuple(size[i] if i in axes else n for i, n in enumerate(shape))


def _slice_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    for axis in attributes["axes"]:
        begin, size, step = (attributes[key][axis] for key in ("begin", "size", "steps"))
        x = x[(slice(None),) * axis + (slice(begin, begin + (size - 1) * step + 1, step),)]
    return x


def by_order(numbers: Sequence[int], order: Sequence[int]) -> list[int]:
    """One number for each axis -> for each axis as it is stored."""
    return [numbers[axis] for axis in order]


def write_slice_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """SLICE, or STRIDED_SLICE where numbers are left out in between."""
    name = operator.inputs[0]
    order = draft.order(name)
    source, output = draft.stored(name), draft.ordered(operator.output, order)
    version = draft.version(operator, int8=2)
    begin, size, steps = (
        np.array(by_order(operator.attributes[key], order), np.int32)
        for key in ("begin", "size", "steps")
    )

    def stored(label: str, numbers: Any) -> int:
        return draft.constant(f"{operator.name}.{label}", numbers)

    if set(steps.tolist()) == {1}:
        ends = [stored("begin", begin), stored("size", size)]
        draft.append(B.SLICE, [source, *ends], output, schema.SliceOptionsT(), version=version)
        return
    ends = [stored("begin", begin), stored("end", begin + (size - 1) * steps + 1)]
    options = schema.StridedSliceOptionsT()
    inputs = [source, *ends, stored("steps", steps)]
    draft.append(B.STRIDED_SLICE, inputs, output, options, version=version)


def write_slice(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Slice on the axes that are cut."""
    begin, size, steps = (operator.attributes[key] for key in ("begin", "size", "steps"))
    whole = draft.graph.values[operator.inputs[0]].shape
    axes = [axis for axis in range(len(whole)) if size[axis] != whole[axis]] or [0]
    starts = [begin[axis] for axis in axes]
    stops = [begin[axis] + (size[axis] - 1) * steps[axis] + 1 for axis in axes]
    ends = [*map(draft.integers, (starts, stops, axes))]
    if any(steps[axis] != 1 for axis in axes):
        ends.append(draft.integers([steps[axis] for axis in axes]))
    draft.node("Slice", [*inputs, *ends], output)


ATEN: dict[str, Reader] = {
    "chunk": _aten_chunk,
    "narrow": _aten_narrow,
    "select": lambda draft, self, dim, index: select(draft, self, dim, index),
    "slice": _aten_slice,
    "split": _aten_split,
    "split_with_sizes": _aten_split,
    "unbind": _aten_unbind,
    "unsafe_chunk": _aten_chunk,
}


ONNX: dict[str, Reader] = {
    "Slice": _onnx_slice,
    "Split": _onnx_split,
}


KINDS: dict[str, Kind] = {
    "Slice": Kind(
        write_slice_tflite,
        _slice_meaning,
        _slice_shape,
        Role.SAME,
        write_slice,
        dtype=SAME_DTYPE,
        channels=passing_axes.sliced,
        conditions="any step from 1 up; Split likewise",
    ),
}
