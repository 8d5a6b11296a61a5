"""Sums of products by their letters (einsum), where that is one matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.operators.axes import reshape, transpose
from edgeticket.pipeline.operators.kind import Kind, Reader
from edgeticket.pipeline.operators.products import product


def einsum(draft: Draft, equation: str, tensors: Sequence[str], path: Any = None) -> str:
    """As a matrix product between transposes."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    letters = terms.split(",")
    if len(letters) != len(tensors) or len(letters) != 2 or "." in equation:
        raise _refused(draft, equation)
    if not arrow:  # letters that stand once, in the order of the alphabet
        result = "".join(sorted(x for x in {*"".join(letters)} if "".join(letters).count(x) == 1))
    left, right = letters
    if any(len(set(word)) < len(word) for word in (left, right, result)):
        raise _refused(draft, equation)
    a, b = tensors
    shared = [x for x in left if x in right and x not in result]
    batch = [x for x in result if x in left and x in right]
    rows = [x for x in result if x in left and x not in right]
    columns = [x for x in result if x in right and x not in left]
    all_letters = {*left, *right} == {*shared, *batch, *rows, *columns}
    if sorted(result) != sorted(batch + rows + columns) or not shared or not all_letters:
        raise _refused(draft, equation)
    sizes = dict(zip(left, draft.shape(a), strict=True))
    sizes |= dict(zip(right, draft.shape(b), strict=True))

    def merged(name: str, word: str, groups: list[list[str]]) -> str:
        order = [word.index(x) for group in groups for x in group]
        shape = [math.prod(sizes[x] for x in group) for group in groups]
        kept = [sizes[x] for x in batch]
        constant = draft.is_constant(name)
        turned = draft.transposed(name, order) if constant else transpose(draft, name, order)
        return reshape(draft, turned, [*kept, *shape[1:]])

    first = merged(a, left, [batch, rows, shared])
    second = merged(b, right, [batch, shared, columns])
    found = product(draft, first, second)
    wide = reshape(draft, found, [sizes[x] for x in [*batch, *rows, *columns]])
    order = [*batch, *rows, *columns]
    return transpose(draft, wide, [order.index(x) for x in result])


def _refused(draft: Draft, equation: str) -> Exception:
    return draft.refuse(f"is {equation}: only products of two matrices can be written")


def _onnx_einsum(draft: Draft, *tensors: str, equation: str) -> str:
    return einsum(draft, equation, tensors)


ATEN: dict[str, Reader] = {"einsum": einsum}
ONNX: dict[str, Reader] = {"Einsum": _onnx_einsum}
KINDS: dict[str, Kind] = {}
