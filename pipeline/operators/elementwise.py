"""Operators on two tensors, number by number, and clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_clamp import activation, append_clamp
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE, Draft
from edgeticket.pipeline.graph.graph import Operator, Value
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Role,
    TfliteWriter,
    broadcast_shape,
)

B = schema.BuiltinOperator


# --- reading


def clip(draft: Draft, x: str, low: float, high: float) -> str:
    """Clip to numbers; nothing where both are infinite."""
    if low == -math.inf and high == math.inf:
        return x
    return draft.add("Clip", x, clamp=(float(low), float(high)))


def operand(draft: Draft, value: Any) -> str:
    """The name of a tensor, or of a stored number."""
    return value if isinstance(value, str) else draft.number(value)


def alike(draft: Draft, *values: Any) -> list[str]:
    """Operands in one type, as PyTorch promotes them: real before whole before bool.

    A number beside a tensor gives way to it, unless it is real and the tensor is not.
    """
    types = [draft.dtype(v) for v in values if isinstance(v, str)]
    types += ["float32" for v in values if isinstance(v, float)]
    types += ["int64" for v in values if type(v) is int and "float32" not in types]
    wanted = next((t for t in ("float32", "int64", "bool") if t in types), "float32")
    names = []
    for value in values:
        if not isinstance(value, str):
            number = draft.number(value) if wanted == "float32" else ""
            names.append(number or draft.constant(np.asarray(value, wanted)))
        elif draft.dtype(value) == wanted:
            names.append(value)
        elif draft.is_constant(value):
            names.append(draft.constant(draft.array(value).astype(wanted)))
        else:
            names.append(draft.add("Cast", value, suffix="cast", to=wanted))
    return names


def binary(kind: str, *, real: bool = False) -> Callable[..., str]:
    """A reader of two operands, of ATen or of ONNX; ``real``: of whole numbers, too, a real one."""

    def read(draft: Draft, self: Any, other: Any, alpha: float = 1) -> str:
        left, right = alike(draft, self, other, *([1.0] if real else []))[:2]
        if draft.dtype(left) == "bool" and kind in ("Add", "Mul"):
            return draft.add("Or" if kind == "Add" else "And", left, right)
        if alpha != 1:
            right = draft.add("Mul", right, draft.number(alpha), suffix="scaled", origin=())
        return draft.add(kind, left, right)

    return read


def _reversed_difference(draft: Draft, self: Any, other: Any, alpha: float = 1) -> str:
    if alpha != 1:
        self = draft.add("Mul", self, draft.number(alpha), suffix="scaled", origin=())
    return draft.add("Sub", *alike(draft, other, self))


def _aten_divide(draft: Draft, self: Any, other: Any, rounding_mode: str | None = None) -> str:
    left, right, _ = alike(draft, self, other, 1.0)
    if rounding_mode is None:
        return draft.add("Div", left, right)
    quotient = draft.add("Div", left, right, suffix="quotient")
    if rounding_mode == "floor":
        return draft.add("Floor", quotient)
    size = draft.add("Floor", draft.add("Abs", quotient, suffix="size"), suffix="whole")
    return draft.add("Mul", draft.add("Sign", quotient, suffix="sign"), size)


def power(draft: Draft, self: Any, exponent: Any) -> str:
    """x to the power of a number: products, a root, or Pow."""
    if isinstance(exponent, str) and draft.is_constant(exponent):
        numbers = draft.array(exponent)
        exponent = float(numbers) if numbers.size == 1 else exponent
    if isinstance(exponent, str) or not isinstance(self, str):
        return draft.add("Pow", operand(draft, self), operand(draft, exponent))
    match float(exponent):
        case 1.0:
            return self
        case 2.0:
            return draft.add("Mul", self, self)
        case 3.0:
            return draft.add("Mul", draft.add("Mul", self, self, suffix="square"), self)
        case 0.5:
            return draft.add("Sqrt", self)
        case -0.5:
            return draft.add("Reciprocal", draft.add("Sqrt", self, suffix="root"))
        case -1.0:
            return draft.add("Reciprocal", self)
    return draft.add("Pow", self, draft.number(exponent))


def _onnx_many(kind: str) -> Callable[..., str]:
    """Max, Min, Sum and Mean take any number of tensors."""

    def read(draft: Draft, first: str, *others: str) -> str:
        for i, other in enumerate(others):
            last = i == len(others) - 1
            first = draft.add(kind, first, other, suffix="" if last else f"of_{i + 2}")
        return first

    return read


def _aten_clamp(draft: Draft, self: str, min: Any = None, max: Any = None) -> str:
    if isinstance(min, str) or isinstance(max, str):
        for kind, bound in (("Max", min), ("Min", max)):
            if bound is not None:
                self = draft.add(kind, self, operand(draft, bound))
        return self
    return clip(draft, self, -math.inf if min is None else min, math.inf if max is None else max)


def _aten_hardtanh(draft: Draft, self: str, min_val: float = -1, max_val: float = 1) -> str:
    return clip(draft, self, min_val, max_val)


def _onnx_clip(draft: Draft, x: str, low: str = "", high: str = "") -> str:
    bounds = [float(draft.array(name, "its bounds")) if name else None for name in (low, high)]
    least, greatest = bounds
    largest = float(np.finfo(np.float32).max)
    return clip(
        draft,
        x,
        -math.inf if least is None or least <= -largest else least,
        math.inf if greatest is None or greatest >= largest else greatest,
    )


def relu(draft: Draft, self: str) -> str:
    """max(x, 0)."""
    return clip(draft, self, 0.0, math.inf)


def _relu6(draft: Draft, self: str) -> str:
    return clip(draft, self, 0.0, 6.0)


LARGEST_MULTIPLE = 513  # of the unit that aligned scales have (`quantize.alignment`)


def is_aligned(operator: Operator, values: Sequence[Value]) -> bool:
    """Whether no sum lies half way between two codes, where runtimes round to different sides.

    That is so if all scales are odd multiples of one unit. Of others about one sum in ten thousand
    differs, which a deep network makes many of: those are added in float32.
    """
    *inputs, output = [
        float(value.quantization.scale) for value in values if value.quantization is not None
    ]
    for multiple in range(1, LARGEST_MULTIPLE + 1, 2):
        counts = [scale / output * multiple for scale in inputs]
        if all(round(n) % 2 and abs(n - round(n)) <= 1e-6 * n for n in counts):
            return True
    return False


# --- meaning


def _clip_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    low, high = attributes["clamp"]
    if (low, high) == (0.0, math.inf):
        return torch.relu(x)
    bounds = {"min": low} if low != -math.inf else {}
    bounds |= {"max": high} if high != math.inf else {}
    return torch.clamp(x, **bounds)


def _torch(name: str) -> Callable[..., Any]:
    def meaning(torch: Any, attributes: Attributes, *values: Any) -> Any:
        return getattr(torch, name)(*values)

    return meaning


# --- TFLite


def two_sided(code: int, options: Callable[[], Any], *, int8: int = 1) -> TfliteWriter:
    """A writer of an operator on two tensors, either of which may be stored in the file.

    Args:
        int8: the version of the TFLite operator that knows int8.
    """

    def write(draft: TfliteDraft, operator: Operator) -> None:
        chosen = options()
        if hasattr(chosen, "fusedActivationFunction"):
            chosen.fusedActivationFunction = activation(operator)
        inputs, output = draft.alike(operator)
        draft.append(code, inputs, output, chosen, version=draft.version(operator, int8=int8))

    write.__doc__ = f"{_name_of(code)}."
    return write


def _name_of(code: int) -> str:
    return str(next(name for name, value in vars(B).items() if value == code))


def write_clip_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """RELU, RELU6 or RELU_N1_TO_1, or MAXIMUM and MINIMUM for other bounds."""
    name = operator.inputs[0]
    if name in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[name]
    order = draft.order(name)
    append_clamp(draft, operator, draft.stored(name), draft.ordered(operator.output, order))


# --- ONNX


def write_clip(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Relu or Clip on real numbers, Clip on codes."""
    assert operator.clamp is not None
    quantization = draft.graph.values[operator.output].quantization
    if quantization is None:
        draft.clip(inputs[0], operator.clamp, output)
    else:
        draft.clip_codes(inputs[0], operator.clamp, quantization, output)


ATEN: dict[str, Reader] = {
    "add": binary("Add"),
    "clamp": _aten_clamp,
    "clamp_max": lambda draft, self, max: _aten_clamp(draft, self, max=max),
    "clamp_min": lambda draft, self, min: _aten_clamp(draft, self, min=min),
    "clip": _aten_clamp,
    "div": _aten_divide,
    "divide": _aten_divide,
    "hardtanh": _aten_hardtanh,
    "maximum": binary("Max"),
    "minimum": binary("Min"),
    "mul": binary("Mul"),
    "multiply": binary("Mul"),
    "pow": power,
    "relu": relu,
    "relu6": _relu6,
    "rsub": _reversed_difference,
    "square": lambda draft, self: power(draft, self, 2.0),
    "sub": binary("Sub"),
    "subtract": binary("Sub"),
    "true_divide": _aten_divide,
}
ONNX: dict[str, Reader] = {
    "Add": binary("Add"),
    "Clip": _onnx_clip,
    "Div": binary("Div", real=True),
    "Max": _onnx_many("Max"),
    "Min": _onnx_many("Min"),
    "Mul": binary("Mul"),
    "Pow": power,
    "Relu": relu,
    "Sub": binary("Sub"),
    "Sum": _onnx_many("Add"),
}
KINDS: dict[str, Kind] = {
    "Add": Kind(
        two_sided(B.ADD, schema.AddOptionsT, int8=2),
        _torch("add"),
        broadcast_shape,
        Role.SUM,
        dtype=SAME_DTYPE,
        clips=True,
        any_order=True,
        channels=passing.pointwise,
        integral=is_aligned,
        conditions="int8: aligned scales; else, and with a stored operand, in float32",
    ),
    "Clip": Kind(
        write_clip_tflite,
        _clip_meaning,
        role=Role.CLAMP,
        dtype=SAME_DTYPE,
        onnx=write_clip,
        any_order=True,
        channels=passing.pointwise,
        conditions="Relu likewise",
    ),
    "Div": Kind(
        two_sided(B.DIV, schema.DivOptionsT),
        _torch("div"),
        broadcast_shape,
        clips=True,
        channels=passing.pointwise,
    ),
    "Max": Kind(
        two_sided(B.MAXIMUM, schema.MaximumMinimumOptionsT),
        _torch("maximum"),
        broadcast_shape,
        dtype=SAME_DTYPE,
        channels=passing.pointwise,
    ),
    "Min": Kind(
        two_sided(B.MINIMUM, schema.MaximumMinimumOptionsT),
        _torch("minimum"),
        broadcast_shape,
        dtype=SAME_DTYPE,
        channels=passing.pointwise,
    ),
    "Mul": Kind(
        two_sided(B.MUL, schema.MulOptionsT, int8=2),
        _torch("mul"),
        broadcast_shape,
        Role.PRODUCT,
        dtype=SAME_DTYPE,
        clips=True,
        channels=passing.pointwise,
        conditions="axes of size 1 are repeated; a stored operand: in float32",
    ),
    "Pow": Kind(
        two_sided(B.POW, schema.PowOptionsT),
        _torch("pow"),
        broadcast_shape,
        channels=passing.pointwise,
    ),
    "Sub": Kind(
        two_sided(B.SUB, schema.SubOptionsT),
        _torch("sub"),
        broadcast_shape,
        clips=True,
        dtype=SAME_DTYPE,
        channels=passing.pointwise,
    ),
}
