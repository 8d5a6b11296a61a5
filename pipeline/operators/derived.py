"""Operators of ATen that are several of ours; they have no kind of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.operators.axes import as_shape, reshape, unsqueeze
from edgeticket.pipeline.operators.elementwise import operand
from edgeticket.pipeline.operators.gathering import index_constants
from edgeticket.pipeline.operators.joining import expand
from edgeticket.pipeline.operators.kind import Reader
from edgeticket.pipeline.operators.layers import convolve, transpose_convolve
from edgeticket.pipeline.operators.logic import cast
from edgeticket.pipeline.operators.reductions import vector_norm
from edgeticket.pipeline.operators.slices import cut, split
from edgeticket.pipeline.operators.windows import spread


def _scaled(draft: Draft, name: str, value: Any) -> str:
    if value == 1:
        return name
    return draft.add("Mul", name, draft.number(float(value)), suffix="scaled")


def _add_combined(kind: str) -> Reader:
    """self + value · (tensor1 · tensor2), or the quotient."""

    def read(draft: Draft, self: str, tensor1: str, tensor2: str, value: Any = 1) -> str:
        both = draft.add(kind, tensor1, tensor2, suffix="term")
        return draft.add("Add", self, _scaled(draft, both, value))

    return read


def _rounded_quotient(toward_zero: bool) -> Callable[..., str]:
    def quotient(draft: Draft, self: Any, other: Any) -> str:
        left, right = operand(draft, self), operand(draft, other)
        both = (cast(draft, name, "float32") for name in (left, right))
        exact = draft.add("Div", *both, suffix="quotient")
        return truncate(draft, exact) if toward_zero else draft.add("Floor", exact, suffix="floor")

    return quotient


floor_divide = _rounded_quotient(toward_zero=False)


def truncate(draft: Draft, self: str) -> str:
    """sign(x) · ⌊|x|⌋."""
    size = draft.add("Floor", draft.add("Abs", self, suffix="size"), suffix="whole")
    return draft.add("Mul", draft.add("Sign", self, suffix="sign"), size)


def _remainder(toward_zero: bool) -> Reader:
    def read(draft: Draft, self: Any, other: Any) -> str:
        whole = _rounded_quotient(toward_zero)(draft, self, other)
        left, right = (cast(draft, operand(draft, name), "float32") for name in (self, other))
        return draft.add("Sub", left, draft.add("Mul", whole, right, suffix="whole_part"))

    return read


def _of_constant(kind: str, before: float = 1.0, after: float = 1.0, shift: float = 0.0) -> Reader:
    """after · f(before · x + shift)."""

    def read(draft: Draft, self: str) -> str:
        if before != 1:
            self = draft.add("Mul", self, draft.number(before), suffix="scaled")
        if shift:
            self = draft.add("Add", self, draft.number(shift), suffix="shifted")
        if after == 1:
            return draft.add(kind, self)
        return draft.add("Mul", draft.add(kind, self, suffix="plain"), draft.number(after))

    return read


def exp_minus_one(draft: Draft, self: str) -> str:
    """exp(x) − 1."""
    return draft.add("Sub", draft.add("Exp", self, suffix="power"), draft.number(1))


def hyperbolic(sign: str) -> Reader:
    """(exp(x) ± exp(−x)) / 2."""

    def read(draft: Draft, self: str) -> str:
        up = draft.add("Exp", self, suffix="up")
        down = draft.add("Exp", draft.add("Neg", self, suffix="negative"), suffix="down")
        return draft.add("Mul", draft.add(sign, up, down, suffix="both"), draft.number(0.5))

    return read


def tangent(draft: Draft, self: str) -> str:
    """sin(x) / cos(x)."""
    sine = draft.add("Sin", self, suffix="sine")
    return draft.add("Div", sine, draft.add("Cos", self, suffix="cosine"))


def log_sum_exp(draft: Draft, self: str, dim: Any, keepdim: bool = False) -> str:
    """m + log(sum(exp(x − m))), m the largest."""
    rank = draft.rank(self)
    over = sorted(axis % rank for axis in ([dim] if isinstance(dim, int) else dim))
    largest = draft.add("ReduceMax", self, suffix="largest", axes=over, keepdims=1)
    less = draft.add("Sub", self, largest, suffix="less")
    powers = draft.add("Exp", less, suffix="powers")
    total = draft.add("ReduceSum", powers, suffix="sum", axes=over, keepdims=1)
    logarithm = draft.add("Log", total, suffix="log")
    if keepdim:
        return draft.add("Add", largest, logarithm)
    found = draft.add("Add", largest, logarithm, suffix="kept")
    shape = draft.shape(found)
    return reshape(draft, found, [n for i, n in enumerate(shape) if i not in over])


def cosine_similarity(draft: Draft, x1: str, x2: str, dim: int = 1, eps: float = 1e-8) -> str:
    """The scalar product of two vectors of length 1."""
    axis = dim % max(draft.rank(x1), draft.rank(x2))
    shares = []
    for label, name in (("first", x1), ("second", x2)):
        square = draft.add("Mul", name, name, suffix=f"{label}_square")
        total = draft.add("ReduceSum", square, suffix=f"{label}_sum", axes=[axis], keepdims=1)
        length = draft.add("Sqrt", total, suffix=f"{label}_length")
        least = draft.add("Max", length, draft.number(eps), suffix=f"{label}_least")
        shares.append(draft.add("Div", name, least, suffix=f"{label}_direction"))
    both = draft.add("Mul", *shares, suffix="product")
    return draft.add("ReduceSum", both, axes=[axis], keepdims=0)


def gated(draft: Draft, self: str, dim: int = -1) -> str:
    """The first half · sigmoid(the second) (Dauphin et al. 2017)."""
    half = draft.shape(self)[dim] // 2
    first, second = split(draft, self, dim, [half, half])
    return draft.add("Mul", first, draft.add("Sigmoid", second, suffix="gate"))


def shuffle(draft: Draft, self: str, groups: int) -> str:
    """Channels of groups take turns (Zhang et al. 2018)."""
    batch, channels, *sizes = draft.shape(self)
    split_shape = (batch, groups, channels // groups, *sizes)
    parts = as_shape(draft, self, split_shape, suffix="split")
    order = [0, 2, 1, *range(3, len(split_shape))]
    turned = draft.add("Transpose", parts, suffix="turned", perm=order)
    return as_shape(draft, turned, draft.shape(self))


def flip(draft: Draft, self: str, dims: Any) -> str:
    """Axes backwards."""
    for axis in [dims] if isinstance(dims, int) else dims:
        size = draft.shape(self)[axis]
        self = index_constants(draft, self, axis, np.arange(size)[::-1])
    return self


def slice_scatter(
    draft: Draft, self: str, src: str, dim: int = 0, start: Any = None, end: Any = None,
    step: int = 1,
) -> str:  # fmt: skip
    """A slice of one axis replaced."""
    size = draft.shape(self)[dim]
    first, last, by = slice(start, end, step).indices(size)
    if by != 1:
        raise draft.refuse("writes to every other place of a tensor: build it with cat")
    if (first, last) == (0, size):
        return src
    axis = dim % draft.rank(self)
    parts = [cut(draft, self, axis, 0, first, suffix="before")] if first else []
    parts += [src]
    parts += [cut(draft, self, axis, last, None, suffix="after")] if last < size else []
    return draft.add("Concat", *parts, axis=axis)


def select_scatter(draft: Draft, self: str, src: str, dim: int, index: int) -> str:
    """What is at one place of an axis replaced."""
    axis = dim % draft.rank(self)
    at = int(index) % draft.shape(self)[axis]
    return slice_scatter(draft, self, unsqueeze(draft, src, [axis]), axis, at, at + 1)


def windows_of(draft: Draft, self: str, dimension: int, size: int, step: int) -> str:
    """Windows over one axis, their places in a new last axis."""
    rank = draft.rank(self)
    axis = dimension % rank
    count = (draft.shape(self)[axis] - size) // step + 1
    parts = []
    for k in range(size):
        part = cut(draft, self, axis, k, k + (count - 1) * step + 1, step, suffix=f"place{k}")
        wide = (*draft.shape(part), 1)
        parts.append(as_shape(draft, part, wide, suffix=f"wide{k}"))
    return parts[0] if size == 1 else draft.add("Concat", *parts, axis=rank)


def columns_of(
    draft: Draft, self: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> str:
    """Windows as columns (`torch.nn.Unfold`): a convolution that picks each of their numbers."""
    kernel = spread(kernel_size, 2)
    channels = draft.shape(self)[1]
    weight = draft.constant(np.tile(_one_hot(kernel), (channels, 1, 1, 1)), f"{draft.step}_pick")
    settings = {"strides": stride, "pads": padding, "dilations": dilation, "group": channels}
    found = convolve(draft, self, weight, "", **settings)
    shape = draft.shape(found)
    return as_shape(draft, found, (*shape[:2], math.prod(shape[2:])), suffix="columns")


def from_columns(
    draft: Draft, self: str, output_size: Sequence[int], kernel_size: Any, dilation: Any,
    padding: Any, stride: Any,
) -> str:  # fmt: skip
    """Columns added up to a map (`torch.nn.Fold`): a transposed convolution that puts them."""
    kernel, steps, pads = (spread(n, 2) for n in (kernel_size, stride, padding))
    gaps = spread(dilation, 2)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, gaps, strict=True)]
    counts = [
        (n + 2 * p - r) // s + 1 for n, p, r, s in zip(output_size, pads, reach, steps, strict=True)
    ]
    shape = draft.shape(self)
    channels = shape[1] // math.prod(kernel)
    wide = as_shape(draft, self, (*shape[:2], *counts), suffix="map")
    weight = draft.constant(np.tile(_one_hot(kernel), (channels, 1, 1, 1)), f"{draft.step}_put")
    more = [
        n - ((c - 1) * s - 2 * p + r)
        for n, c, s, p, r in zip(output_size, counts, steps, pads, reach, strict=True)
    ]
    settings = {"strides": steps, "pads": pads, "dilations": gaps, "output_padding": more}
    return transpose_convolve(draft, wide, weight, "", group=channels, **settings)


def _one_hot(kernel: Sequence[int]) -> Any:
    count = math.prod(kernel)
    return np.eye(count, dtype=np.float32).reshape(count, 1, *kernel)


def triangle(upper: bool) -> Reader:
    """All but one triangle of the last two axes becomes 0."""

    def read(draft: Draft, self: str, diagonal: int = 0) -> str:
        ones = np.ones([int(n) for n in draft.shape(self)[-2:]], np.float32)
        kept = np.triu(ones, diagonal) if upper else np.tril(ones, diagonal)
        return draft.add("Mul", self, draft.constant(kept))

    return read


def copied(draft: Draft, self: str, src: str, **_: Any) -> str:
    """``src`` in the shape and type of ``self``."""
    return cast(draft, expand(draft, src, draft.shape(self)), draft.dtype(self))


def _pairwise_distance(
    draft: Draft, x1: str, x2: str, p: float = 2, eps: float = 1e-6, keepdim: bool = False
) -> str:
    less = draft.add("Sub", x1, x2, suffix="less")
    shifted = draft.add("Add", less, draft.number(eps), suffix="shifted")
    return vector_norm(draft, shifted, p, -1, keepdims=keepdim)


def _distances(draft: Draft, x1: str, x2: str, p: float = 2, compute_mode: Any = None) -> str:
    """Of each row of one matrix to each of another."""
    rank = draft.rank(x1)
    left, right = unsqueeze(draft, x1, [rank - 1]), unsqueeze(draft, x2, [rank - 2])
    less = draft.add("Sub", left, right, suffix="less")
    return vector_norm(draft, less, p, -1, keepdims=False)


def _like(draft: Draft, self: str, other: str) -> str:
    return reshape(draft, self, draft.shape(other))


def _named_axes(draft: Draft, axes: str) -> list[int]:
    found = [int(n) for n in np.ravel(draft.array(axes, "its axes"))] if axes else []
    if not found:
        raise draft.refuse("reduces over no axes: name them")
    return found


def _onnx_log_sum_exp(
    draft: Draft, x: str, axes: str = "", *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> str:
    return log_sum_exp(draft, x, _named_axes(draft, axes), bool(keepdims))


def _onnx_logarithm(
    draft: Draft, x: str, axes: str = "", *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> str:
    """log(sum(x))."""
    rank = draft.rank(x)
    over = sorted(axis % rank for axis in _named_axes(draft, axes))
    total = draft.add("ReduceSum", x, suffix="sum", axes=over, keepdims=keepdims)
    return draft.add("Log", total)


ATEN: dict[str, Reader] = {
    "addcdiv": _add_combined("Div"),
    "addcmul": _add_combined("Mul"),
    "_cdist_forward": _distances,
    "cdist": _distances,
    "channel_shuffle": shuffle,
    "col2im": from_columns,
    "copy": copied,
    "cosh": hyperbolic("Add"),
    "cosine_similarity": cosine_similarity,
    "exp2": _of_constant("Exp", before=math.log(2)),
    "expand_as": lambda draft, self, other: expand(draft, self, draft.shape(other)),
    "expm1": exp_minus_one,
    "flip": flip,
    "floor_divide": floor_divide,
    "fmod": _remainder(toward_zero=True),
    "glu": gated,
    "im2col": columns_of,
    "log10": _of_constant("Log", after=1 / math.log(10)),
    "log1p": _of_constant("Log", shift=1.0),
    "log2": _of_constant("Log", after=1 / math.log(2)),
    "logsumexp": log_sum_exp,
    "native_channel_shuffle": shuffle,
    "pairwise_distance": _pairwise_distance,
    "remainder": _remainder(toward_zero=False),
    "reshape_as": _like,
    "select_scatter": select_scatter,
    "sinh": hyperbolic("Sub"),
    "slice_scatter": slice_scatter,
    "tan": tangent,
    "tril": triangle(upper=False),
    "triu": triangle(upper=True),
    "trunc": truncate,
    "unfold": windows_of,
    "view_as": _like,
}
ONNX: dict[str, Reader] = {
    "Cosh": hyperbolic("Add"),
    "ReduceLogSum": _onnx_logarithm,
    "ReduceLogSumExp": _onnx_log_sum_exp,
    "Sinh": hyperbolic("Sub"),
    "Tan": tangent,
}
KINDS: dict[str, Any] = {}
