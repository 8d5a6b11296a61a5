"""Slicing, concatenating, padding, repeating and shuffling: numbers move and none changes."""

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
from edgeticket.pipeline.operators.axes import as_shape, is_batch, reshape
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Role,
    Shape,
    broadcast_shape,
)

B = schema.BuiltinOperator
LARGEST = 2**31 - 1

# --- reading


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


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(
    draft: Draft,
    source: str,
    before: Sequence[int],
    after: Sequence[int],
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> str:
    """Pad; negative amounts cut off, and what wraps around is sliced and concatenated."""
    for axis, (left, right) in enumerate(zip(before, after, strict=True)):
        if left < 0 or right < 0:
            size = draft.shape(source)[axis]
            source = cut(draft, source, axis, max(-left, 0), size - max(-right, 0), suffix="crop")
    before, after = [max(n, 0) for n in before], [max(n, 0) for n in after]
    if not any(before) and not any(after):
        return source
    if mode not in PAD_MODES.values():
        raise draft.refuse(f"pads by {mode!r}: use one of {', '.join(PAD_MODES.values())}")
    if mode in ("constant", "reflect"):
        return draft.add(
            "Pad", source, before=list(before), after=list(after), mode=mode, value=float(value)
        )
    for axis, (left, right) in enumerate(zip(before, after, strict=True)):
        if not (left or right):
            continue
        size = draft.shape(source)[axis]
        if mode == "wrap":
            parts = [cut(draft, source, axis, size - left, None, suffix="end")] if left else []
            parts += [source]
            parts += [cut(draft, source, axis, 0, right, suffix="start")] if right else []
        else:
            parts = [cut(draft, source, axis, 0, 1, suffix="first")] * left
            parts += [source]
            parts += [cut(draft, source, axis, size - 1, None, suffix="last")] * right
        source = draft.add("Concat", *parts, axis=axis)
    return source


def _aten_pad(
    draft: Draft,
    self: str,
    pad_: Sequence[int] = (),
    mode: str = "constant",
    value: Any = None,
    **more: Any,
) -> str:
    """``pad`` counts from the last axis: (left, right, top, bottom, ...)."""
    amounts = list(more.get("pad", pad_))
    rank = draft.rank(self)
    pairs = [(0, 0)] * (rank - len(amounts) // 2)
    pairs += [(amounts[i], amounts[i + 1]) for i in range(len(amounts) - 2, -1, -2)]
    before, after = zip(*pairs, strict=True)
    return pad(draft, self, before, after, mode=PAD_MODES[mode], value=value or 0.0)


def _padding(mode: str) -> Reader:
    def read(draft: Draft, self: str, padding: Sequence[int]) -> str:
        return _aten_pad(draft, self, padding, mode)

    return read


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


def _onnx_concat(draft: Draft, *tensors: str, axis: int) -> str:
    return concat(draft, tensors, axis)


def _onnx_pad(
    draft: Draft, x: str, pads: str, value: str = "", axes: str = "", *, mode: str = "constant"
) -> str:
    amounts = [int(n) for n in np.ravel(draft.array(pads, "its amounts"))]
    rank, half = draft.rank(x), len(amounts) // 2
    along = [int(n) % rank for n in np.ravel(draft.array(axes))] if axes else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(along):
        before[axis], after[axis] = amounts[i], amounts[i + half]
    filled = float(np.ravel(draft.array(value, "its value"))[0]) if value else 0.0
    return pad(draft, x, before, after, mode=mode, value=filled)


def _onnx_expand(draft: Draft, x: str, shape: str) -> str:
    wanted = [int(n) for n in np.ravel(draft.array(shape, "its shape"))]
    given = draft.shape(x)
    wanted = [1] * (len(given) - len(wanted)) + wanted
    wide = [1] * (len(wanted) - len(given)) + list(given)
    return expand(draft, x, [max(a, b) for a, b in zip(wide, wanted, strict=True)])


def _onnx_tile(draft: Draft, x: str, repeats: str) -> str:
    return repeat(draft, x, [int(n) for n in np.ravel(draft.array(repeats, "its repeats"))])


# --- meaning


def _slice_shape(attributes: Attributes, shape: Shape) -> Shape:
    size, axes = attributes["size"], attributes["axes"]
    return tuple(size[i] if i in axes else n for i, n in enumerate(shape))


def _slice_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    for axis in attributes["axes"]:
        begin, size, step = (attributes[key][axis] for key in ("begin", "size", "steps"))
        x = x[(slice(None),) * axis + (slice(begin, begin + (size - 1) * step + 1, step),)]
    return x


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


def _pad_shape(attributes: Attributes, shape: Shape) -> Shape:
    before, after = attributes["before"], attributes["after"]
    return tuple(b + n + a for b, n, a in zip(before, shape, after, strict=True))


def _pad_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    pairs = list(zip(attributes["before"], attributes["after"], strict=True))
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        amounts = [n for pair in reversed(pairs) for n in pair]
        return torch.nn.functional.pad(x, amounts, value=attributes.get("value", 0.0))
    inner = [n for pair in reversed(pairs[2:]) for n in pair]
    return torch.nn.functional.pad(x, inner, mode=mode)


def _gather_shape(attributes: Attributes, shape: Shape) -> Shape:
    axis = attributes["axis"]
    return (*shape[:axis], len(attributes["indices"]), *shape[axis + 1 :])


def _gather_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    return x.index_select(attributes["axis"], torch.tensor(attributes["indices"], device=x.device))


# --- TFLite


def by_order(numbers: Sequence[int], order: Sequence[int]) -> list[int]:
    """One number for each axis -> for each axis as it is stored."""
    return [numbers[axis] for axis in order]


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


def write_pad_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """PAD with zeros, PADV2 with another number, MIRROR_PAD."""
    name = operator.inputs[0]
    order = draft.order(name)
    source, output = draft.stored(name), draft.ordered(operator.output, order)
    sides = [by_order(operator.attributes[key], order) for key in ("before", "after")]
    amounts = draft.constant(f"{operator.name}.amounts", np.array(sides, np.int32).T)
    version = draft.version(operator, int8=2)
    if operator.attributes.get("mode", "constant") == "reflect":
        options = schema.MirrorPadOptionsT()
        options.mode = schema.MirrorPadMode.REFLECT
        draft.append(B.MIRROR_PAD, [source, amounts], output, options, version=version)
    elif not operator.attributes.get("value", 0.0):
        draft.append(B.PAD, [source, amounts], output, schema.PadOptionsT(), version=version)
    else:
        quantization = draft.graph.values[operator.output].quantization
        value = operator.attributes["value"]
        data = np.array([value], np.float32)
        if quantization is not None:
            data = np.array([quantization.bounds((value, value))[0]], np.int8)
        fill = draft.constant_like(output, f"{operator.name}.fill", data)
        inputs = [source, amounts, fill]
        draft.append(B.PADV2, inputs, output, schema.PadV2OptionsT(), version=version)


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


def shuffle(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE, TRANSPOSE of the two innermost axes, RESHAPE."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    batch, height, width, channels = draft.shape(source)
    groups = operator.attributes["groups"]
    divided = (batch, height, width, groups, channels // groups)
    turned = (*divided[:3], divided[4], divided[3])
    parts = draft.like(output, f"{operator.name}.split", divided)
    draft.reshape(source, parts)
    mixed = draft.like(output, f"{operator.name}.turned", turned)
    order = draft.constant(f"{operator.name}.order", np.array([0, 1, 2, 4, 3], np.int32))
    version = draft.version(operator, int8=2)
    options = schema.TransposeOptionsT()
    draft.append(B.TRANSPOSE, [parts, order], mixed, options, version=version)
    draft.reshape(mixed, output)


# --- ONNX


def write_concat(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Concat."""
    draft.node("Concat", inputs, output, operator.attributes)


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


def write_pad(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Pad; the code of zero is the zero point."""
    amounts = draft.integers([*operator.attributes["before"], *operator.attributes["after"]])
    quantization = draft.graph.values[operator.output].quantization
    mode, value = operator.attributes.get("mode", "constant"), operator.attributes.get("value", 0.0)
    attributes = {} if mode == "constant" else {"mode": mode}
    ends = [amounts]
    if quantization is not None and mode == "constant":
        ends.append(draft.code(quantization.bounds((value, value))[0]))
    elif value:
        ends.append(draft.tensor(f"fill.{value}", np.asarray(value, np.float32)))
    draft.node("Pad", [*inputs, *ends], output, attributes)


def write_gather(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Gather of stored indices."""
    indices = draft.integers(operator.attributes["indices"])
    draft.node("Gather", [*inputs, indices], output, {"axis": operator.attributes["axis"]})


def write_shuffle(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Reshape, Transpose, Reshape."""
    shape = draft.graph.values[operator.output].shape
    groups = operator.attributes["groups"]
    divided = draft.integers([shape[0], groups, shape[1] // groups, *shape[2:]])
    parts = draft.node("Reshape", [*inputs, divided], f"{output}.split")
    mixed = draft.node("Transpose", [parts], f"{output}.turned", {"perm": [0, 2, 1, 3, 4]})
    draft.node("Reshape", [mixed, draft.integers(shape)], output)


ATEN: dict[str, Reader] = {
    "cat": concat,
    "chunk": _aten_chunk,
    "concat": concat,
    "concatenate": concat,
    "constant_pad_nd": lambda draft, self, pad, value=0: _aten_pad(draft, self, pad, value=value),
    "expand": lambda draft, self, size, implicit=False: expand(draft, self, size),
    "index": _aten_index,
    "index_select": lambda draft, self, dim, index: index_constants(
        draft, self, dim, draft.array(index, "its indices")
    ),
    "narrow": _aten_narrow,
    "pad": _aten_pad,
    "reflection_pad1d": _padding("reflect"),
    "reflection_pad2d": _padding("reflect"),
    "repeat": repeat,
    "replication_pad1d": _padding("replicate"),
    "replication_pad2d": _padding("replicate"),
    "roll": roll,
    "select": lambda draft, self, dim, index: select(draft, self, dim, index),
    "slice": _aten_slice,
    "split": _aten_split,
    "split_with_sizes": _aten_split,
    "stack": stack,
    "tile": lambda draft, self, dims: repeat(draft, self, dims),
    "unbind": _aten_unbind,
    "unsafe_chunk": _aten_chunk,
}
ONNX: dict[str, Reader] = {
    "Concat": _onnx_concat,
    "Expand": _onnx_expand,
    "Gather": _onnx_gather,
    "Pad": _onnx_pad,
    "Slice": _onnx_slice,
    "Split": _onnx_split,
    "Tile": _onnx_tile,
}
KINDS: dict[str, Kind] = {
    "ChannelShuffle": Kind(
        shuffle,
        role=Role.SAME,
        onnx=write_shuffle,
        dtype=SAME_DTYPE,
        conditions="read from Reshape, Transpose, Reshape",
    ),
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
    "Pad": Kind(
        write_pad_tflite,
        _pad_meaning,
        _pad_shape,
        Role.SAME,
        write_pad,
        dtype=SAME_DTYPE,
        channels=passing_axes.padded,
        conditions="any number, reflected; repeated and circular as Concat",
    ),
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
