"""Comparisons, what is made of them, and changes of type; always outside the codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import GIVEN_DTYPE, SAME_DTYPE, Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.elementwise import alike, two_sided
from edgeticket.pipeline.operators.functions import unary
from edgeticket.pipeline.operators.kind import Attributes, Kind, Reader, Role, broadcast_shape

B = schema.BuiltinOperator

# --- reading


def compare(kind: str) -> Callable[..., str]:
    """A reader of a comparison of two tensors, or of a tensor and a number."""

    def read(draft: Draft, self: Any, other: Any) -> str:
        return draft.add(kind, *alike(draft, self, other))

    return read


def differ(draft: Draft, self: Any, other: Any) -> str:
    """Not Equal."""
    return draft.add("Not", draft.add("Equal", *alike(draft, self, other), suffix="equal"))


def logical(kind: str) -> Callable[..., str]:
    """A reader of And, Or; numbers count as true unless they are 0."""

    def read(draft: Draft, self: str, other: str) -> str:
        return draft.add(kind, truth(draft, self), truth(draft, other))

    return read


def truth(draft: Draft, name: str) -> str:
    """A tensor as bool."""
    if draft.dtype(name) == "bool":
        return name
    if draft.is_constant(name):
        return draft.constant(draft.array(name).astype(bool))
    zero = draft.constant(np.zeros((), np.dtype(draft.dtype(name))))
    equal = draft.add("Equal", name, zero, suffix="zero")
    return draft.add("Not", equal, suffix="truth")


def _not(draft: Draft, self: str) -> str:
    return draft.add("Not", truth(draft, self))


def _exclusive(draft: Draft, self: str, other: str) -> str:
    equal = draft.add("Equal", truth(draft, self), truth(draft, other), suffix="equal")
    return draft.add("Not", equal)


def choose(draft: Draft, condition: str, self: Any, other: Any) -> str:
    """Where."""
    return draft.add("Where", truth(draft, condition), *alike(draft, self, other))


def _masked_fill(draft: Draft, self: str, mask: str, value: Any) -> str:
    return choose(draft, mask, value, self)


def _threshold(draft: Draft, self: str, threshold: float, value: float) -> str:
    above = draft.add("Greater", self, draft.number(threshold), suffix="above")
    return choose(draft, above, self, value)


def cast(draft: Draft, name: str, dtype: str) -> str:
    """Cast; nothing where the type stays."""
    if draft.dtype(name) == dtype:
        return name
    if draft.is_constant(name):
        return draft.constant(draft.array(name).astype(dtype))
    return draft.add("Cast", name, suffix="cast", to=dtype)


def _aten_cast(draft: Draft, self: str, dtype: Any = None, other: str = "", **_: Any) -> str:
    if other:
        return cast(draft, self, draft.dtype(other))
    if dtype is None:
        return self
    if dtype.is_floating_point:
        return cast(draft, self, "float32")
    return cast(draft, self, "bool" if str(dtype) == "torch.bool" else "int64")


def _onnx_cast(draft: Draft, x: str, *, to: int, saturate: int = 1) -> str:
    if to not in ONNX_TYPES:
        raise draft.refuse("casts to a type that is not float32, int64, int32 or bool")
    return cast(draft, x, ONNX_TYPES[to])


ONNX_TYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float32",
    TensorProto.FLOAT16: "float32",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int64",
    TensorProto.BOOL: "bool",
}

# --- meaning


def _torch(name: str) -> Callable[..., Any]:
    def meaning(torch: Any, attributes: Attributes, *values: Any) -> Any:
        return getattr(torch, name)(*values)

    return meaning


# --- writing


def write_cast_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """CAST."""
    name = operator.inputs[0]
    source, output = draft.stored(name), draft.ordered(operator.output, draft.order(name))
    draft.append(B.CAST, [source], output, schema.CastOptionsT(), version=1)


def write_cast(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Cast."""
    types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
    draft.node("Cast", inputs, output, {"to": types[operator.attributes["to"]]})


def write_identity_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE to the same shape, which copies."""
    name = operator.inputs[0]
    rank = len(draft.graph.values[operator.output].shape)
    order = draft.order(name) if name in draft.graph.values else tuple(range(rank))
    draft.reshape(draft.operand(name, order), draft.ordered(operator.output, order))


ATEN: dict[str, Reader] = {
    "_to_copy": _aten_cast,
    "bitwise_and": logical("And"),
    "bitwise_not": _not,
    "bitwise_or": logical("Or"),
    "bitwise_xor": _exclusive,
    "eq": compare("Equal"),
    "ge": compare("GreaterOrEqual"),
    "gt": compare("Greater"),
    "le": compare("LessOrEqual"),
    "logical_and": logical("And"),
    "logical_not": _not,
    "logical_or": logical("Or"),
    "logical_xor": _exclusive,
    "lt": compare("Less"),
    "masked_fill": _masked_fill,
    "ne": differ,
    "threshold": _threshold,
    "to": _aten_cast,
    "type_as": _aten_cast,
    "where": choose,
}
ONNX: dict[str, Reader] = {
    "And": logical("And"),
    "Cast": _onnx_cast,
    "Equal": compare("Equal"),
    "Greater": compare("Greater"),
    "GreaterOrEqual": compare("GreaterOrEqual"),
    "Less": compare("Less"),
    "LessOrEqual": compare("LessOrEqual"),
    "Not": _not,
    "Or": logical("Or"),
    "Where": choose,
    "Xor": _exclusive,
}


def _comparison(code: int, options: Callable[[], Any], name: str) -> Kind:
    return Kind(
        two_sided(code, options),
        _torch(name),
        broadcast_shape,
        dtype="bool",
        channels=passing.pointwise,
    )


KINDS: dict[str, Kind] = {
    "And": _comparison(B.LOGICAL_AND, schema.LogicalAndOptionsT, "logical_and"),
    "Cast": Kind(
        write_cast_tflite,
        lambda torch, a, x: x.to(getattr(torch, a["to"])),
        onnx=write_cast,
        dtype=GIVEN_DTYPE,
        channels=passing.unchanged,
        conditions="between float32, whole numbers and bool",
    ),
    "Equal": _comparison(B.EQUAL, schema.EqualOptionsT, "eq"),
    "Greater": _comparison(B.GREATER, schema.GreaterOptionsT, "gt"),
    "GreaterOrEqual": _comparison(B.GREATER_EQUAL, schema.GreaterEqualOptionsT, "ge"),
    "Identity": Kind(
        write_identity_tflite,
        lambda torch, a, x: x,
        role=Role.SAME,
        dtype=SAME_DTYPE,
        channels=passing.unchanged,
        conditions="an output that is an input, stored, or an output already",
    ),
    "Less": _comparison(B.LESS, schema.LessOptionsT, "lt"),
    "LessOrEqual": _comparison(B.LESS_EQUAL, schema.LessEqualOptionsT, "le"),
    "Not": Kind(
        unary(B.LOGICAL_NOT, schema.LogicalNotOptionsT),
        _torch("logical_not"),
        dtype="bool",
        channels=passing.pointwise,
    ),
    "Or": _comparison(B.LOGICAL_OR, schema.LogicalOrOptionsT, "logical_or"),
    "Where": Kind(
        two_sided(B.SELECT_V2, schema.SelectV2OptionsT),
        _torch("where"),
        broadcast_shape,
        dtype=SAME_DTYPE,
        channels=passing.pointwise,
        conditions="by a condition of any origin",
    ),
}
