"""Products of two tensors, what attention makes of them, and softmax; in float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.axes import reshape
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Shape,
    broadcast_shape,
)
from edgeticket.pipeline.operators.layers import multiply_matrix

B = schema.BuiltinOperator


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


def _aten_softmax(kind: str) -> Reader:
    def read(
        draft: Draft, self: str, dim: int, dtype: Any = None, half_to_float: bool = False
    ) -> str:
        return softmax_of(draft, self, dim, kind)

    return read


def _product_shape(attributes: Attributes, left: Shape, right: Shape) -> Shape:
    if left[-1] != right[-2]:
        raise ValueError(f"{list(left)} and {list(right)} cannot be multiplied")
    outer = broadcast_shape({}, left[:-2], right[:-2]) if len(left) > 2 else ()
    return (*outer, left[-2], right[-1])


def _product_macs(attributes: Attributes, output: Shape, left: Shape, right: Shape) -> int:
    return math.prod(output) * left[-1]


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


def log_softmax(draft: TfliteDraft, operator: Operator) -> None:
    """LOG_SOFTMAX."""
    source, output = draft.last_axis_last(operator)
    draft.append(B.LOG_SOFTMAX, [source], output, schema.LogSoftmaxOptionsT(), version=1)


ATEN: dict[str, Reader] = {
    "_log_softmax": _aten_softmax("LogSoftmax"),
    "_softmax": _aten_softmax("Softmax"),
    "baddbmm": lambda draft, self, batch1, batch2, beta=1, alpha=1: draft.add(
        "Add", product(draft, batch1, batch2, "product"), self
    ),
    "bmm": lambda draft, self, mat2: product(draft, self, mat2),
    "log_softmax": _aten_softmax("LogSoftmax"),
    "matmul": product,
    "mm": lambda draft, self, mat2: product(draft, self, mat2),
    "scaled_dot_product_attention": attention,
    "softmax": _aten_softmax("Softmax"),
}


ONNX: dict[str, Reader] = {
    "LogSoftmax": lambda draft, x, *, axis=-1: softmax_of(draft, x, axis, "LogSoftmax"),
    "MatMul": product,
    "Softmax": lambda draft, x, *, axis=-1: softmax_of(draft, x, axis),
}


KINDS: dict[str, Kind] = {
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
        conditions="of two values; a constant matrix: a Gemm; int8: sums of whole numbers",
    ),
    "Softmax": Kind(
        softmax,
        lambda torch, a, x: torch.softmax(x, -1),
        channels=passing.last_axis_shares,
        conditions="any axis; int8: with whole numbers for powers, where a product reads it",
    ),
}
