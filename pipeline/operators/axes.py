"""Splitting, merging and exchanging axes: numbers stay as they are.

In TFLite files most of this costs nothing: a draft remembers in which order the axes of a value
are stored (`TfliteDraft.order`), and numbers are moved only where an operator needs them in
another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE, BatchSize, Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing_axes
from edgeticket.pipeline.operators.kind import Attributes, Kind, Reader, Role, Shape

# --- reading


def reshape(draft: Draft, source: str, target: Sequence[int]) -> str:
    """Reshape; −1 is what is left, and a size that grows with the batch is open."""
    shape = draft.shape(source)
    total = math.prod(shape)
    known = math.prod(n for n in target if n > 0)
    full = [n if n > 0 else total // max(known, 1) if n < 0 else n for n in target]
    if not full or math.prod(full) != total:
        raise draft.refuse(f"makes {list(target)} of {list(shape)}, which has other numbers")
    if draft.is_constant(source):
        return draft.constant(draft.array(source).reshape([int(n) for n in full]))
    if not any(isinstance(n, BatchSize) for n in full):
        at = _open_axis(shape, full)
        if at is not None:
            full[at] = BatchSize(full[at])
    if shape == tuple(full):
        return source
    return as_shape(draft, source, tuple(full))


def _open_axis(shape: Shape, target: Sequence[int]) -> int | None:
    """Where the axis of ``shape`` that grows with the batch is in ``target``, as far as known.

    Of axes with as many numbers before them, one of the same size is taken; one of size 1 where the
    batch was merged with others.
    """
    opened = batch_axis(shape)
    if opened is None:
        return 0 if shape[:1] == (1,) and target[0] == 1 else None
    before = math.prod(int(n) for n in shape[:opened])
    places = [i for i in range(len(target)) if math.prod(target[:i]) == before]
    alike = [i for i in places if target[i] == 1] if shape[opened] > 1 else []
    alike += [i for i in places if target[i] == shape[opened]]
    return next(iter([*alike, *places]), None)


def batch_axis(shape: Shape) -> int | None:
    """The first axis that grows with the batch."""
    return next((i for i, n in enumerate(shape) if isinstance(n, BatchSize)), None)


def as_shape(draft: Draft, source: str, shape: Shape, suffix: str = "") -> str:
    """Flatten where all axes but the batch are merged, else Reshape; nothing if that undoes one.

    One axis that grows with the batch is open (−1), so that any batch fits.
    """
    before, opened = draft.shape(source), batch_axis(shape)
    made = draft.made.get(source)
    while made is not None and made.kind in ("Flatten", "Reshape"):
        (first,) = made.inputs
        if draft.shape(first) == shape and batch_axis(draft.shape(first)) == opened:
            return first
        made = draft.made.get(first)
    if made is not None and made.output == source and _merges_last(draft, made, shape):
        (first,) = made.inputs
        *outer, one, two = draft.shape(first)
        merged = as_shape(draft, first, (*outer, one * two), suffix=f"{suffix}merged")
        return transpose(draft, merged, made.attributes["perm"][:-1], suffix=suffix)
    flat = shape == (1, math.prod(before)) and before[:1] == (1,) and not opened
    free = [-1 if i == opened else n for i, n in enumerate(shape)]
    kind = "Flatten" if flat else "Reshape"
    return draft.add(kind, source, suffix=suffix, shape=list(shape), free=free)


def _merges_last(draft: Draft, made: Operator, shape: Shape) -> bool:
    """Whether ``shape`` merges the last two axes behind a Transpose that left them in place."""
    if made.kind != "Transpose" or made.attributes["perm"][-2:] != [len(shape) - 1, len(shape)]:
        return False
    *outer, one, two = draft.shape(made.output)
    return shape == (*outer, one * two) and len(outer) > 1


def _aten_view(draft: Draft, self: str, shape: Sequence[int] = (), size: Sequence[int] = ()) -> str:
    return reshape(draft, self, shape or size)


def _aten_flatten(draft: Draft, self: str, start_dim: int = 0, end_dim: int = -1) -> str:
    shape = draft.shape(self)
    rank = max(len(shape), 1)
    first, last = start_dim % rank, end_dim % rank
    if first == last:
        return self
    merged = [*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]]
    return reshape(draft, self, merged)


def _aten_unflatten(draft: Draft, self: str, dim: int, sizes: Sequence[int]) -> str:
    shape = draft.shape(self)
    axis = dim % len(shape)
    return reshape(draft, self, [*shape[:axis], *sizes, *shape[axis + 1 :]])


def unsqueeze(draft: Draft, self: str, axes: Sequence[int]) -> str:
    """New axes of size 1, counted in the output."""
    rank = draft.rank(self) + len(axes)
    places = {axis % rank for axis in axes}
    rest = iter(draft.shape(self))
    return reshape(draft, self, [1 if i in places else next(rest) for i in range(rank)])


def squeeze(draft: Draft, self: str, axes: Sequence[int] | None) -> str:
    """Without axes of size 1; None: all of them but the batch, whose size is not 1 for all."""
    shape = draft.shape(self)
    batch = {axis for axis in range(len(shape)) if is_batch(draft, self, axis)}
    wanted = {*range(len(shape))} - batch if axes is None else {axis % len(shape) for axis in axes}
    gone = {axis for axis in wanted if shape[axis] == 1 and not isinstance(shape[axis], BatchSize)}
    if gone & batch:
        raise draft.refuse("drops the axis of the batch: leave that in")
    return reshape(draft, self, [n for i, n in enumerate(shape) if i not in gone])


def is_batch(draft: Draft, name: str, axis: int) -> bool:
    """Whether examples lie along that axis; it is the first where nothing else is known."""
    if draft.is_constant(name):
        return False
    opened = [isinstance(n, BatchSize) for n in draft.shape(name)]
    return opened[axis] if any(opened) else axis == 0 and draft.shape(name)[0] == 1


def transpose(draft: Draft, self: str, order: Sequence[int], suffix: str = "") -> str:
    """Transpose; two are one, axes of 1 move by a Reshape, and what stays is nothing."""
    rank = draft.rank(self)
    axes = [axis % rank for axis in order]
    if sorted(axes) != list(range(rank)):
        raise draft.refuse(f"puts {rank} axes in the order {list(order)}: name each of them once")
    made = draft.made.get(self)
    if made is not None and made.kind == "Transpose":
        before = made.attributes["perm"]
        return transpose(draft, made.inputs[0], [before[axis] for axis in axes], suffix)
    if axes == list(range(rank)):
        return self
    shape = draft.shape(self)
    moving = [axis for axis in axes if shape[axis] != 1 or is_batch(draft, self, axis)]
    if moving == sorted(moving) and not draft.is_constant(self):
        return as_shape(draft, self, tuple(shape[axis] for axis in axes), suffix=suffix)
    return draft.add("Transpose", self, suffix=suffix, perm=axes)


def swap(draft: Draft, self: str, dim0: int, dim1: int) -> str:
    """Two axes change places."""
    order = list(range(draft.rank(self)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return transpose(draft, self, order)


def _aten_squeeze(draft: Draft, self: str, dim: Any = None) -> str:
    return squeeze(draft, self, [dim] if isinstance(dim, int) else dim)


def _aten_matrix_transpose(draft: Draft, self: str) -> str:
    return swap(draft, self, -2, -1) if draft.rank(self) > 1 else self


def _onnx_reshape(draft: Draft, x: str, shape: str, *, allowzero: int = 0) -> str:
    wanted = [int(n) for n in np.ravel(draft.array(shape, "its shape"))]
    given = draft.shape(x)
    sizes = [
        given[i] if n == 0 and not allowzero and i < len(given) else n for i, n in enumerate(wanted)
    ]
    return reshape(draft, x, _with_batch(draft, x, sizes))


def _with_batch(draft: Draft, x: str, sizes: Sequence[int]) -> Sequence[int]:
    """A target whose −1 is a plain number, where the batch is another of its axes.

    Files that were exported for one example have [1, 8, −1], and 1 means the batch.
    """
    given = draft.shape(x)
    if -1 not in sizes or draft.is_constant(x):
        return sizes
    open_end = list(sizes).index(-1)
    plain = [int(n) for n in sizes]
    plain[open_end] = -math.prod(map(int, given)) // math.prod(plain)
    at, opened = _open_axis(given, tuple(plain)), batch_axis(given)
    could_be = opened is not None and plain[open_end] == given[opened]
    if at is None or could_be or plain[at] != given[opened or 0]:
        return sizes
    return [BatchSize(n) if i == at else n for i, n in enumerate(plain)]


def _onnx_flatten(draft: Draft, x: str, *, axis: int = 1) -> str:
    shape = draft.shape(x)
    at = axis % len(shape) if axis < 0 else axis
    return reshape(draft, x, [math.prod(shape[:at]), math.prod(shape[at:])])


def _onnx_axes(draft: Draft, axes: str) -> list[int]:
    return [int(n) for n in np.ravel(draft.array(axes, "its axes"))]


def _onnx_squeeze(draft: Draft, x: str, axes: str = "") -> str:
    along = _onnx_axes(draft, axes) if axes else None
    if along is not None and any(is_batch(draft, x, axis) for axis in along):
        raise draft.refuse("drops the axis of the batch: leave that in")
    return squeeze(draft, x, along)


def _onnx_unsqueeze(draft: Draft, x: str, axes: str) -> str:
    return unsqueeze(draft, x, _onnx_axes(draft, axes))


def _onnx_transpose(draft: Draft, x: str, *, perm: Sequence[int] | None = None) -> str:
    return transpose(draft, x, list(range(draft.rank(x)))[::-1] if perm is None else perm)


# --- meaning


def _reshape_shape(attributes: Attributes, shape: Shape) -> Shape:
    return tuple(attributes["shape"])


def _flatten_shape(attributes: Attributes, shape: Shape) -> Shape:
    return (shape[0], math.prod(shape[1:]))


def _reshape_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    return torch.reshape(x, tuple(attributes["free"]))


def _transpose_shape(attributes: Attributes, shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in attributes["perm"])


def _transpose_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    return torch.permute(x, tuple(attributes["perm"]))


# --- TFLite


def write_transpose(draft: TfliteDraft, operator: Operator) -> None:
    """Nothing: the same numbers under other axes."""
    (name,) = operator.inputs
    permutation = operator.attributes["perm"]
    order = tuple(permutation.index(axis) for axis in draft.order(name))
    draft.alias(operator.output, name, order)


def write_reshape_tflite(draft: TfliteDraft, operator: Operator) -> None:
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


def write_flatten(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE; in front of linear layers alone the order of the values may become that of NHWC."""
    name = operator.inputs[0]
    shape = draft.graph.values[name].shape
    is_map = len(shape) == 4 and shape[2:] != (1, 1) and draft.order(name) == (0, 2, 3, 1)
    if is_map and draft.only_layers_read(operator.output):
        draft.flattened[operator.output] = shape[1:]
        draft.reshape(draft.stored(name), draft.value(operator.output))
    else:
        write_reshape_tflite(draft, operator)


# --- ONNX


def write_reshape(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Reshape to the shape of the output."""
    shape = draft.integers(draft.graph.values[operator.output].shape)
    draft.node("Reshape", [inputs[0], shape], output)


def write_flatten_onnx(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """Flatten."""
    draft.node("Flatten", inputs, output)


ATEN: dict[str, Reader] = {
    "_unsafe_view": _aten_view,
    "flatten": _aten_flatten,
    "movedim": lambda draft, self, source, destination: transpose(
        draft, self, moved(draft.rank(self), source, destination)
    ),
    "numpy_T": lambda draft, self: transpose(draft, self, list(range(draft.rank(self)))[::-1]),
    "permute": lambda draft, self, dims: transpose(draft, self, dims),
    "reshape": _aten_view,
    "squeeze": _aten_squeeze,
    "swapaxes": lambda draft, self, axis0, axis1: swap(draft, self, axis0, axis1),
    "t": _aten_matrix_transpose,
    "transpose": swap,
    "unflatten": _aten_unflatten,
    "unsqueeze": lambda draft, self, dim: unsqueeze(draft, self, [dim]),
    "view": _aten_view,
}
ONNX: dict[str, Reader] = {
    "Flatten": _onnx_flatten,
    "Reshape": _onnx_reshape,
    "Squeeze": _onnx_squeeze,
    "Transpose": _onnx_transpose,
    "Unsqueeze": _onnx_unsqueeze,
}


def moved(rank: int, source: Any, destination: Any) -> list[int]:
    """The order of axes after ``source`` went to ``destination`` (NumPy's moveaxis)."""
    sources = [source] if isinstance(source, int) else source
    places = [destination] if isinstance(destination, int) else destination
    there = {p % rank: s % rank for s, p in zip(sources, places, strict=True)}
    rest = iter(axis for axis in range(rank) if axis not in there.values())
    return [there[i] if i in there else next(rest) for i in range(rank)]


KINDS: dict[str, Kind] = {
    "Flatten": Kind(
        write_flatten,
        lambda torch, attributes, x: torch.flatten(x, 1),
        _flatten_shape,
        Role.SAME,
        write_flatten_onnx,
        any_order=True,
        dtype=SAME_DTYPE,
        channels=passing_axes.reshaped,
        conditions="Reshape to [1, n]",
    ),
    "Reshape": Kind(
        write_reshape_tflite,
        _reshape_meaning,
        _reshape_shape,
        Role.SAME,
        write_reshape,
        dtype=SAME_DTYPE,
        channels=passing_axes.reshaped,
        conditions="any; Squeeze and Unsqueeze likewise",
    ),
    "Transpose": Kind(
        write_transpose,
        _transpose_meaning,
        _transpose_shape,
        Role.SAME,
        dtype=SAME_DTYPE,
        channels=passing_axes.transposed,
        conditions="any",
    ),
}
