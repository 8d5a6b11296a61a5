"""Sums, means, extremes, norms and variances along axes; always in float32."""

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
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.axes import is_batch
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Shape,
    TfliteWriter,
)
from edgeticket.pipeline.operators.logic import cast
from edgeticket.pipeline.operators.lookups import place_of_largest
from edgeticket.pipeline.operators.pools import global_average_of

B = schema.BuiltinOperator


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
    "amax": _aten_reduce("ReduceMax"),
    "amin": _aten_reduce("ReduceMin"),
    "linalg_vector_norm": _aten_norm,
    "max": _aten_extreme("ReduceMax"),
    "mean": _aten_reduce("ReduceMean"),
    "min": _aten_extreme("ReduceMin"),
    "norm": lambda draft, self, p=2, dim=None, keepdim=False, dtype=None: vector_norm(
        draft, self, 2.0 if p is None else float(p), dim, keepdims=keepdim
    ),
    "std": _aten_variance(root=True),
    "std_mean": _aten_with_mean(root=True),
    "sum": _aten_reduce("ReduceSum"),
    "var": _aten_variance(root=False),
    "var_mean": _aten_with_mean(root=False),
}


ONNX: dict[str, Reader] = {
    "ReduceL1": _onnx_reduce("ReduceL1"),
    "ReduceL2": _onnx_reduce("ReduceL2"),
    "ReduceMax": _onnx_reduce("ReduceMax"),
    "ReduceMean": _onnx_reduce("ReduceMean"),
    "ReduceMin": _onnx_reduce("ReduceMin"),
    "ReduceSum": _onnx_reduce("ReduceSum"),
    "ReduceSumSquare": _onnx_reduce("ReduceSumSquare"),
}


def _reduction(code: int, name: str, dtype: str = SAME_DTYPE) -> Kind:
    """One of those that only differ in what they make of the numbers, ``name`` in torch."""
    return Kind(
        reducer(code),
        _reduced(name),
        _reduced_shape,
        onnx=write_reduce,
        dtype=dtype,
        channels=passing.reduced,
    )


KINDS: dict[str, Kind] = {
    "ReduceMax": _reduction(B.REDUCE_MAX, "amax"),
    "ReduceMean": _reduction(B.MEAN, "mean", "float32"),
    "ReduceMin": _reduction(B.REDUCE_MIN, "amin"),
    "ReduceSum": _reduction(B.SUM, "sum"),
}
