"""Norms, reductions and products of two tensors; always in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE, Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing, passing_layers
from edgeticket.pipeline.operators.axes import as_shape, is_batch, reshape, transpose
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Shape,
    TfliteWriter,
    broadcast_shape,
)
from edgeticket.pipeline.operators.layers import multiply_matrix
from edgeticket.pipeline.operators.logic import cast
from edgeticket.pipeline.operators.lookups import place_of_largest
from edgeticket.pipeline.operators.pools import global_average_of

B = schema.BuiltinOperator

# --- reading


def product(draft: Draft, self: str, other: str, suffix: str = "") -> str:
    """A matrix product; with a constant matrix it is a linear layer."""
    if draft.is_constant(other) and draft.rank(other) == 2 and not draft.is_constant(self):
        return multiply_matrix(draft, self, draft.transposed(other, [1, 0]))
    if draft.rank(self) == 1 or draft.rank(other) == 1:
        raise draft.refuse("multiplies a vector: give it an axis of size 1")
    rank = max(draft.rank(self), draft.rank(other))
    for name in (self, other):
        if draft.rank(name) < rank:
            shape = [*[1] * (rank - draft.rank(name)), *draft.shape(name)]
            wide = reshape(draft, name, shape)
            self, other = (wide if self == name else self), (wide if other == name else other)
    return draft.add("MatMul", self, other, suffix=suffix)


def attention(
    draft: Draft,
    query: str,
    key: str,
    value: str,
    attn_mask: str = "",
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> str:
    """softmax(q·kᵀ·scale + mask)·v, [..., tokens, size] each (Vaswani et al. 2017)."""
    if enable_gqa:
        raise draft.refuse("groups its heads (enable_gqa): repeat keys and values")
    size = draft.shape(query)[-1]
    factor = size**-0.5 if scale is None else scale
    scaled = draft.add("Mul", query, draft.number(factor), suffix="scaled")
    turned_axes = list(range(draft.rank(key)))
    turned_axes[-2:] = turned_axes[:-3:-1]
    turned = draft.add("Transpose", key, suffix="key", perm=turned_axes)
    scores = draft.add("MatMul", scaled, turned, suffix="scores")
    if is_causal:
        rows, columns = draft.shape(scores)[-2:]
        hidden = np.triu(np.full((rows, columns), MASKED, np.float32), 1)
        attn_mask = draft.constant(hidden, f"{draft.step}_mask")
    if attn_mask:
        if draft.is_constant(attn_mask) and draft.array(attn_mask).dtype == bool:
            hidden = np.where(draft.array(attn_mask), 0, MASKED).astype(np.float32)
            attn_mask = draft.constant(hidden, f"{draft.step}_mask")
        scores = draft.add("Add", scores, attn_mask, suffix="masked")
    shares = draft.add("Softmax", scores, suffix="shares", axis=-1)
    return draft.add("MatMul", shares, value)


MASKED = -1e9  # stands for minus infinity, which makes NaN of a row that is masked whole


def softmax_of(draft: Draft, self: str, dim: int, kind: str = "Softmax") -> str:
    """Softmax along any axis; both runtimes know the last."""
    rank = draft.rank(self)
    axis = dim % rank
    if axis == rank - 1:
        return draft.add(kind, self, axis=-1)
    order = [*range(axis), *range(axis + 1, rank), axis]
    back = [order.index(i) for i in range(rank)]
    turned = draft.add("Transpose", self, suffix="last", perm=order)
    shares = draft.add(kind, turned, suffix="shares", axis=-1)
    return draft.add("Transpose", shares, perm=back)


def layer_norm_of(
    draft: Draft, source: str, axes: int, weight: str, bias: str, epsilon: float
) -> str:
    """LayerNormalization over the last ``axes`` axes; several are merged for the while."""
    shape = draft.shape(source)
    if axes == 1:
        return _norm(draft, source, weight, bias, epsilon)
    size = math.prod(shape[-axes:])
    merged = reshape(draft, source, [*shape[:-axes], size])
    scale, shift = (
        draft.constant(draft.array(n).reshape(size), n) if n else "" for n in (weight, bias)
    )
    return reshape(draft, _norm(draft, merged, scale, shift, epsilon), list(shape))


def _norm(draft: Draft, source: str, weight: str, bias: str, epsilon: float) -> str:
    size = draft.shape(source)[-1]
    for name in filter(None, (weight, bias)):
        if draft.array(name, "its scale or bias").shape != (size,):
            raise draft.refuse(f"has a scale or bias that does not fit {size} numbers")
    weight = weight or draft.constant(np.ones(size, np.float32), f"{draft.step}_weight")
    inputs = [source, weight, *([bias] if bias else [])]
    return draft.add("LayerNormalization", *inputs, axis=-1, epsilon=float(epsilon))


def group_norm_of(
    draft: Draft, source: str, groups: int, weight: str, bias: str, epsilon: float
) -> str:
    """A layer norm of each group of channels, then a scale and a shift for each channel."""
    shape = draft.shape(source)
    size = math.prod(shape[1:]) // groups
    merged = as_shape(draft, source, (shape[0], groups, size), suffix="groups")
    ones = draft.constant(np.ones(size, np.float32), f"{draft.step}_ones")
    normal = draft.add(
        "LayerNormalization", merged, ones, suffix="normal", axis=-1, epsilon=float(epsilon)
    )
    found = as_shape(draft, normal, shape, suffix="map")
    column = (-1, *[1] * (len(shape) - 2))
    for kind, name, label in (("Mul", weight, "weight"), ("Add", bias, "bias")):
        if name:
            numbers = draft.constant(draft.array(name).reshape(column), f"{draft.step}_{label}")
            found = draft.add(kind, found, numbers, suffix="" if kind == "Add" else "scaled")
    return found


def rms_norm(draft: Draft, source: str, axes: int, weight: str, epsilon: float) -> str:
    """x / √(mean(x²) + ε) · weight (Zhang & Sennrich 2019)."""
    rank = draft.rank(source)
    square = draft.add("Mul", source, source, suffix="square")
    over = list(range(rank - axes, rank))
    mean = draft.add("ReduceMean", square, suffix="mean", axes=over, keepdims=1)
    positive = draft.add("Add", mean, draft.number(epsilon), suffix="positive")
    root = draft.add("Sqrt", positive, suffix="root")
    normal = draft.add("Div", source, root, suffix="" if not weight else "normal")
    return draft.add("Mul", normal, weight) if weight else normal


def batch_norm_of(
    draft: Draft, source: str, weight: str, bias: str, mean: str, variance: str, epsilon: float
) -> str:
    """BatchNormalization by stored statistics; folding makes a layer of it."""
    if not (mean and variance):
        raise draft.refuse("has no running statistics: it must have them to be evaluated")
    channels = draft.shape(mean)[0]
    weight = weight or draft.constant(np.ones(channels, np.float32), f"{draft.step}_weight")
    bias = bias or draft.constant(np.zeros(channels, np.float32), f"{draft.step}_bias")
    return draft.add(
        "BatchNormalization", source, weight, bias, mean, variance, epsilon=float(epsilon)
    )


def reduce(draft: Draft, kind: str, self: str, axes: Any, *, keepdims: bool) -> str:
    """A reduction over ``axes``, never over the batch; the mean of a map is a global pool."""
    if axes in (None, (), []):
        keepdims = True  # a number for each example, whatever it meets
    rank, over = draft.rank(self), _axes(draft, self, axes)
    if any(is_batch(draft, self, axis) for axis in over):
        raise draft.refuse("reduces over the batch: leave that out")
    if kind == "ReduceMean" and rank == 4 and over == [2, 3]:
        return global_average_of(draft, self, keepdims=keepdims)
    return draft.add(kind, self, axes=over, keepdims=int(keepdims))


def _axes(draft: Draft, self: str, axes: Any) -> list[int]:
    """Axes in order; none given means all but that of the batch."""
    rank = draft.rank(self)
    if axes in (None, (), []):
        return [axis for axis in range(rank) if not is_batch(draft, self, axis)]
    return sorted({axis % rank for axis in ([axes] if isinstance(axes, int) else axes)})


def vector_norm(draft: Draft, self: str, order: float, axes: Any, *, keepdims: bool) -> str:
    """The norm of vectors along ``axes``, of any order but 0."""
    if order == 2:
        square = draft.add("Mul", self, self, suffix="square")
        total = _suffixed(draft, "ReduceSum", square, axes, keepdims, "sum")
        return draft.add("Sqrt", total)
    if order in (1, math.inf):
        size = draft.add("Abs", self, suffix="size")
        return reduce(
            draft, "ReduceSum" if order == 1 else "ReduceMax", size, axes, keepdims=keepdims
        )
    size = draft.add("Abs", self, suffix="size")
    if order == -math.inf:
        return reduce(draft, "ReduceMin", size, axes, keepdims=keepdims)
    if order == 0:
        raise draft.refuse("counts numbers that are not 0 (a norm of order 0): use a sum of x != 0")
    power = draft.add("Pow", size, draft.number(order), suffix="power")
    total = _suffixed(draft, "ReduceSum", power, axes, keepdims, "sum")
    return draft.add("Pow", total, draft.number(1 / order))


def _suffixed(draft: Draft, kind: str, self: str, axes: Any, keepdims: bool, suffix: str) -> str:
    keepdims = keepdims or axes in (None, (), [])
    over = _axes(draft, self, axes)
    return draft.add(kind, self, suffix=suffix, axes=over, keepdims=int(keepdims))


def variance(
    draft: Draft, self: str, axes: Any, *, keepdims: bool, correction: float, root: bool = False
) -> str:
    """mean((x − mean(x))²), times n / (n − correction)."""
    keepdims = keepdims or axes in (None, (), [])
    over = _axes(draft, self, axes)
    count = math.prod(draft.shape(self)[axis] for axis in over)
    mean = draft.add("ReduceMean", self, suffix="mean", axes=over, keepdims=1)
    centred = draft.add("Sub", self, mean, suffix="centred")
    square = draft.add("Mul", centred, centred, suffix="square")
    scaled = correction != 0
    found = draft.add(
        "ReduceMean",
        square,
        suffix="biased" if scaled or root else "",
        axes=over,
        keepdims=int(keepdims),
    )
    if scaled:
        factor = draft.number(count / max(count - correction, 1e-9))
        found = draft.add("Mul", found, factor, suffix="variance" if root else "")
    return draft.add("Sqrt", found) if root else found


def _aten_reduce(kind: str) -> Reader:
    def read(
        draft: Draft, self: str, dim: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> str:
        if draft.dtype(self) == "bool":
            self = cast(draft, self, "int64")
        return reduce(draft, kind, self, dim, keepdims=keepdim)

    return read


def _aten_extreme(kind: str) -> Reader:
    """``max`` and ``min`` along an axis also give the place."""

    def read(
        draft: Draft, self: str, dim: Any = None, keepdim: bool = False, other: str = ""
    ) -> Any:
        if other:
            return draft.add("Max" if kind == "ReduceMax" else "Min", self, other)
        found = reduce(draft, kind, self, dim, keepdims=keepdim)
        if dim is None:
            return found
        smallest = kind == "ReduceMin"
        return [found, place_of_largest(draft, self, dim, keepdim, smallest=smallest)]

    return read


def _aten_norm(
    draft: Draft, self: str, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> str:
    return vector_norm(draft, self, float(ord), dim, keepdims=keepdim)


def _aten_layer_norm(
    draft: Draft,
    input: str,
    normalized_shape: Sequence[int],
    weight: str = "",
    bias: str = "",
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> str:
    return layer_norm_of(draft, input, len(normalized_shape), weight, bias, eps)


def _aten_batch_norm(
    draft: Draft,
    input: str,
    weight: str,
    bias: str,
    running_mean: str,
    running_var: str,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> str:
    if training:
        raise draft.refuse("normalises by the batch: it must have running statistics")
    return batch_norm_of(draft, input, weight, bias, running_mean, running_var, eps)


def _aten_group_norm(
    draft: Draft,
    input: str,
    num_groups: int,
    weight: str = "",
    bias: str = "",
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> str:
    return group_norm_of(draft, input, num_groups, weight, bias, eps)


def _aten_instance_norm(
    draft: Draft,
    input: str,
    weight: str,
    bias: str,
    running_mean: str,
    running_var: str,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> str:
    if not use_input_stats:
        return batch_norm_of(draft, input, weight, bias, running_mean, running_var, eps)
    return group_norm_of(draft, input, draft.shape(input)[1], weight, bias, eps)


def _native_batch_norm(
    draft: Draft,
    input: str,
    weight: str,
    bias: str,
    running_mean: str,
    running_var: str,
    momentum: float,
    eps: float,
) -> list[str]:
    return [batch_norm_of(draft, input, weight, bias, running_mean, running_var, eps)]


def _native_group_norm(
    draft: Draft, input: str, weight: str, bias: str, *, group: int, eps: float, **_: Any
) -> list[str]:
    return [group_norm_of(draft, input, group, weight, bias, eps)]


def _aten_rms_norm(
    draft: Draft, input: str, normalized_shape: Sequence[int], weight: str = "", eps: Any = None
) -> str:
    epsilon = float(np.finfo(np.float32).eps) if eps is None else eps
    return rms_norm(draft, input, len(normalized_shape), weight, epsilon)


def _aten_with_mean(root: bool) -> Reader:
    """A variance and the mean beside it."""

    def read(draft: Draft, self: str = "", **more: Any) -> list[str]:
        self = self or more.pop("inp", "") or more.pop("input")
        spread_ = _aten_variance(root)(draft, self, **more)
        mean = reduce(
            draft, "ReduceMean", self, more.get("dim"), keepdims=more.get("keepdim", False)
        )
        return [spread_, mean]

    return read


def _aten_variance(root: bool) -> Reader:
    def read(
        draft: Draft,
        self: str,
        dim: Any = None,
        correction: Any = 1,
        keepdim: bool = False,
        unbiased: bool = True,
    ) -> str:
        wanted = 1 if correction is None else correction
        if not unbiased:
            wanted = 0
        return variance(draft, self, dim, keepdims=keepdim, correction=wanted, root=root)

    return read


def _aten_softmax(kind: str) -> Reader:
    def read(
        draft: Draft, self: str, dim: int, dtype: Any = None, half_to_float: bool = False
    ) -> str:
        return softmax_of(draft, self, dim, kind)

    return read


def _aten_einsum(draft: Draft, equation: str, tensors: Sequence[str], path: Any = None) -> str:
    """As a matrix product between transposes, where it is one."""
    left, right, result = equation.replace(" ", "").replace("->", ",").split(",")
    a, b = tensors
    shared = [x for x in left if x in right and x not in result]
    batch = [x for x in result if x in left and x in right]
    rows = [x for x in result if x in left and x not in right]
    columns = [x for x in result if x in right and x not in left]
    if "." in equation or sorted(result) != sorted(batch + rows + columns) or not shared:
        raise draft.refuse(f"is {equation}: only products of two matrices can be written")
    sizes = dict(zip(left, draft.shape(a), strict=True))
    sizes |= dict(zip(right, draft.shape(b), strict=True))

    def merged(name: str, letters: str, groups: list[list[str]]) -> str:
        order = [letters.index(x) for group in groups for x in group]
        shape = [math.prod(sizes[x] for x in group) for group in groups]
        kept = [sizes[x] for x in batch]
        return reshape(draft, transpose(draft, name, order), [*kept, *shape[1:]])

    first = merged(a, left, [batch, rows, shared])
    second = merged(b, right, [batch, shared, columns])
    found = product(draft, first, second)
    wide = reshape(draft, found, [sizes[x] for x in [*batch, *rows, *columns]])
    order = [*batch, *rows, *columns]
    return transpose(draft, wide, [order.index(x) for x in result])


def _onnx_layer_norm(
    draft: Draft,
    x: str,
    scale: str,
    bias: str = "",
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> str:
    if stash_type != 1:
        raise draft.refuse(f"reckons in another type ({stash_type}): export it in float32")
    rank = draft.rank(x)
    return layer_norm_of(draft, x, rank - axis % rank, scale, bias, epsilon)


def _onnx_batch_norm(
    draft: Draft,
    x: str,
    scale: str,
    bias: str,
    mean: str,
    variance_: str,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,  # of training alone
    training_mode: int = 0,
) -> str:
    if training_mode:
        raise draft.refuse("is in training mode: export the network in evaluation mode")
    return batch_norm_of(draft, x, scale, bias, mean, variance_, epsilon)


def _onnx_group_norm(
    draft: Draft,
    x: str,
    scale: str,
    bias: str,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> str:
    if stash_type != 1:
        raise draft.refuse(f"reckons in another type ({stash_type}): export it in float32")
    channels = draft.shape(x)[1]
    if draft.shape(scale) != (channels,):  # operator set 18 has one for each group
        scale, bias = (
            draft.constant(np.repeat(draft.array(n), channels // num_groups)) for n in (scale, bias)
        )
    return group_norm_of(draft, x, num_groups, scale, bias, epsilon)


def _onnx_instance_norm(
    draft: Draft, x: str, scale: str, bias: str, *, epsilon: float = 1e-5
) -> str:
    return group_norm_of(draft, x, draft.shape(x)[1], scale, bias, epsilon)


def nothing_reduced(draft: Draft, x: str, noop_with_empty_axes: int) -> str:
    """A reduction over no axes: of all of them, the batch, too, or of none."""
    if not noop_with_empty_axes:
        raise draft.refuse("reduces everything, the batch, too: name the axes")
    return x


def _onnx_reduce(kind: str) -> Reader:
    def read(
        draft: Draft,
        x: str,
        axes_input: str = "",
        *,
        axes: Any = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> str:
        if axes_input:
            axes = [int(n) for n in np.ravel(draft.array(axes_input, "its axes"))]
        if not axes and kind in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"):
            return nothing_reduced(draft, x, noop_with_empty_axes)
        if not axes:
            raise draft.refuse("reduces over no axes: name them")
        if kind in ("ReduceL1", "ReduceL2"):
            order = 1.0 if kind == "ReduceL1" else 2.0
            return vector_norm(draft, x, order, axes, keepdims=bool(keepdims))
        if kind == "ReduceSumSquare":
            x = draft.add("Mul", x, x, suffix="square")
            return reduce(draft, "ReduceSum", x, axes, keepdims=bool(keepdims))
        return reduce(draft, kind, x, axes, keepdims=bool(keepdims))

    return read


# --- meaning


def _product_shape(attributes: Attributes, left: Shape, right: Shape) -> Shape:
    if left[-1] != right[-2]:
        raise ValueError(f"{list(left)} and {list(right)} cannot be multiplied")
    outer = broadcast_shape({}, left[:-2], right[:-2]) if len(left) > 2 else ()
    return (*outer, left[-2], right[-1])


def _product_macs(attributes: Attributes, output: Shape, left: Shape, right: Shape) -> int:
    return math.prod(output) * left[-1]


def _norm_meaning(torch: Any, attributes: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, attributes["epsilon"])


def _batch_norm_meaning(
    torch: Any, attributes: Attributes, x: Any, weight: Any, bias: Any, mean: Any, variance_: Any
) -> Any:
    return torch.nn.functional.batch_norm(
        x, mean, variance_, weight, bias, False, 0.0, attributes["epsilon"]
    )


def _reduced_shape(attributes: Attributes, shape: Shape) -> Shape:
    axes = attributes["axes"]
    if attributes["keepdims"]:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _reduced(name: str) -> Callable[..., Any]:
    def meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
        axes, keep = tuple(attributes["axes"]), bool(attributes["keepdims"])
        return getattr(torch, name)(x, axes, keepdim=keep)

    return meaning


# --- writing


def matrix_product(draft: TfliteDraft, operator: Operator) -> None:
    """BATCH_MATMUL; the second factor is read transposed where it is stored so."""
    left, right = operator.inputs
    rank = len(draft.graph.values[operator.output].shape)
    usual = tuple(range(rank))
    options = schema.BatchMatMulOptionsT()
    values = draft.graph.values
    stored = right in values and draft.order(right)[-1] == rank - 2
    options.adjY = stored
    second = draft.operand(right, (*usual[:-2], rank - 1, rank - 2) if stored else usual)
    inputs = [draft.operand(left, usual), second]
    output = draft.ordered(operator.output, usual)
    draft.append(B.BATCH_MATMUL, inputs, output, options, version=1)


def softmax(draft: TfliteDraft, operator: Operator) -> None:
    """SOFTMAX."""
    source, output = draft.last_axis_last(operator)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    draft.append(B.SOFTMAX, [source], output, options, version=1)


def layer_norm(draft: TfliteDraft, operator: Operator) -> None:
    """(x − mean) · rsqrt(mean((x − mean)²) + ε) · scale + bias, an operator for each."""
    source, output = draft.last_axis_last(operator)
    shape = draft.shape(source)
    column = (*shape[:-1], 1)

    def step(
        code: int, inputs: list[int], label: str, shape: tuple[int, ...], options: object = None
    ) -> int:
        result = output if not label else draft.like(source, f"{operator.name}.{label}", shape)
        draft.append(code, inputs, result, options, version=1)
        return result

    def number(label: str, data: object) -> int:
        return draft.constant(f"{operator.name}.{label}", np.asarray(data))

    over = schema.ReducerOptionsT()
    over.keepDims = True
    axis = number("axis", np.array([len(shape) - 1], np.int32))
    epsilon = number("epsilon", np.array([operator.attributes["epsilon"]], np.float32))
    mean = step(B.MEAN, [source, axis], "mean", column, over)
    centred = step(B.SUB, [source, mean], "centred", shape, schema.SubOptionsT())
    squares = step(B.MUL, [centred, centred], "squares", shape, schema.MulOptionsT())
    variance = step(B.MEAN, [squares, axis], "variance", column, over)
    positive = step(B.ADD, [variance, epsilon], "positive", column, schema.AddOptionsT())
    factor = step(B.RSQRT, [positive], "factor", column)
    result = step(B.MUL, [centred, factor], "normal", shape, schema.MulOptionsT())
    affine = [(B.MUL, "scale", schema.MulOptionsT()), (B.ADD, "bias", schema.AddOptionsT())]
    names = operator.inputs[1:]
    for i, (name, (code, label, options)) in enumerate(zip(names, affine, strict=False)):
        constant = number(label, draft.graph.constants[name].data)
        last = i == len(names) - 1
        result = step(code, [result, constant], "" if last else "scaled", shape, options)


def log_softmax(draft: TfliteDraft, operator: Operator) -> None:
    """LOG_SOFTMAX."""
    source, output = draft.last_axis_last(operator)
    draft.append(B.LOG_SOFTMAX, [source], output, schema.LogSoftmaxOptionsT(), version=1)


def write_reduce(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """The same reduction, its axes as an input."""
    attributes = {"keepdims": operator.attributes["keepdims"]}
    axes = draft.integers(operator.attributes["axes"])
    draft.node(operator.kind, [inputs[0], axes], output, attributes)


def reducer(code: int) -> TfliteWriter:
    """A writer of a reduction over any axes, in whatever order numbers are stored."""

    def write(draft: TfliteDraft, operator: Operator) -> None:
        name = operator.inputs[0]
        order = draft.order(name)
        gone = operator.attributes["axes"]
        options = schema.ReducerOptionsT()
        options.keepDims = bool(operator.attributes["keepdims"])
        places = np.array([order.index(axis) for axis in gone], np.int32)
        axes = draft.constant(f"{operator.name}.axes", places)
        if not options.keepDims:
            left = [axis for axis in order if axis not in gone]
            order = tuple(sorted(left).index(axis) for axis in left)
        output = draft.ordered(operator.output, order)
        draft.append(code, [draft.stored(name), axes], output, options, version=1)

    write.__doc__ = f"{next(n for n, v in vars(B).items() if v == code)}."
    return write


ATEN: dict[str, Reader] = {
    "_log_softmax": _aten_softmax("LogSoftmax"),
    "_softmax": _aten_softmax("Softmax"),
    "_native_batch_norm_legit_no_training": _native_batch_norm,
    "native_group_norm": _native_group_norm,
    "native_layer_norm": lambda draft, *values, **more: [_aten_layer_norm(draft, *values, **more)],
    "amax": _aten_reduce("ReduceMax"),
    "amin": _aten_reduce("ReduceMin"),
    "baddbmm": lambda draft, self, batch1, batch2, beta=1, alpha=1: draft.add(
        "Add", product(draft, batch1, batch2, "product"), self
    ),
    "batch_norm": _aten_batch_norm,
    "bmm": lambda draft, self, mat2: product(draft, self, mat2),
    "einsum": _aten_einsum,
    "group_norm": _aten_group_norm,
    "instance_norm": _aten_instance_norm,
    "layer_norm": _aten_layer_norm,
    "linalg_vector_norm": _aten_norm,
    "log_softmax": _aten_softmax("LogSoftmax"),
    "matmul": product,
    "max": _aten_extreme("ReduceMax"),
    "mean": _aten_reduce("ReduceMean"),
    "min": _aten_extreme("ReduceMin"),
    "mm": lambda draft, self, mat2: product(draft, self, mat2),
    "norm": lambda draft, self, p=2, dim=None, keepdim=False, dtype=None: vector_norm(
        draft, self, 2.0 if p is None else float(p), dim, keepdims=keepdim
    ),
    "rms_norm": _aten_rms_norm,
    "scaled_dot_product_attention": attention,
    "softmax": _aten_softmax("Softmax"),
    "std": _aten_variance(root=True),
    "std_mean": _aten_with_mean(root=True),
    "sum": _aten_reduce("ReduceSum"),
    "var": _aten_variance(root=False),
    "var_mean": _aten_with_mean(root=False),
}
ONNX: dict[str, Reader] = {
    "BatchNormalization": _onnx_batch_norm,
    "GroupNormalization": _onnx_group_norm,
    "InstanceNormalization": _onnx_instance_norm,
    "LayerNormalization": _onnx_layer_norm,
    "LogSoftmax": lambda draft, x, *, axis=-1: softmax_of(draft, x, axis, "LogSoftmax"),
    "MatMul": product,
    "ReduceL1": _onnx_reduce("ReduceL1"),
    "ReduceL2": _onnx_reduce("ReduceL2"),
    "ReduceMax": _onnx_reduce("ReduceMax"),
    "ReduceMean": _onnx_reduce("ReduceMean"),
    "ReduceMin": _onnx_reduce("ReduceMin"),
    "ReduceSum": _onnx_reduce("ReduceSum"),
    "ReduceSumSquare": _onnx_reduce("ReduceSumSquare"),
    "Softmax": lambda draft, x, *, axis=-1: softmax_of(draft, x, axis),
}
KINDS: dict[str, Kind] = {
    "BatchNormalization": Kind(
        None,
        _batch_norm_meaning,
        channels=passing_layers.batch_norm,
        conditions="folded into a layer, or a depthwise convolution",
    ),
    "LayerNormalization": Kind(
        layer_norm, _norm_meaning, channels=passing.normalised, conditions="last axes"
    ),
    "LogSoftmax": Kind(
        log_softmax,
        lambda torch, a, x: torch.log_softmax(x, -1),
        channels=passing.last_axis_shares,
        conditions="last axis",
    ),
    "MatMul": Kind(
        matrix_product,
        lambda torch, a, x, y: torch.matmul(x, y),
        _product_shape,
        macs=_product_macs,
        channels=passing.multiplied,
        conditions="of two values; with a constant matrix it is a Gemm",
    ),
    "ReduceMax": Kind(
        reducer(B.REDUCE_MAX),
        _reduced("amax"),
        _reduced_shape,
        onnx=write_reduce,
        dtype=SAME_DTYPE,
        channels=passing.reduced,
    ),
    "ReduceMean": Kind(
        reducer(B.MEAN),
        _reduced("mean"),
        _reduced_shape,
        onnx=write_reduce,
        channels=passing.reduced,
    ),
    "ReduceMin": Kind(
        reducer(B.REDUCE_MIN),
        _reduced("amin"),
        _reduced_shape,
        onnx=write_reduce,
        dtype=SAME_DTYPE,
        channels=passing.reduced,
    ),
    "ReduceSum": Kind(
        reducer(B.SUM),
        _reduced("sum"),
        _reduced_shape,
        onnx=write_reduce,
        dtype=SAME_DTYPE,
        channels=passing.reduced,
    ),
    "Softmax": Kind(
        softmax,
        lambda torch, a, x: torch.softmax(x, -1),
        channels=passing.last_axis_shares,
        conditions="any axis",
    ),
}
