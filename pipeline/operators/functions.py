"""Functions of one number, and gates made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE, Draft
from edgeticket.pipeline.graph.graph import Operator, Value
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Role,
    Substitution,
    TfliteWriter,
    broadcast_shape,
)
from edgeticket.pipeline.operators.layers import constant_depthwise

B = schema.BuiltinOperator

# What both runtimes' integer kernels insist on: all of 0..1, and all of −1..1.
SIGMOID_SCALE = 1 / 256, -128
TANH_SCALE = 1 / 128, 0
# With the scale 1/255 the 1/2 that a hard sigmoid gives for every zero would be half way between
# two codes, where runtimes and torch round to different sides.
HARD_SIGMOID_SCALE = float(np.float32(1 / 255.25)), -128


# --- reading


def function(kind: str) -> Callable[..., str]:
    """A reader of a function without settings."""

    def read(draft: Draft, self: str) -> str:
        return draft.add(kind, self)

    return read


def silu(draft: Draft, self: str) -> str:
    """x · sigmoid(x) (Elfwing et al. 2018)."""
    return draft.add("Mul", self, draft.add("Sigmoid", self, suffix="gate"))


def mish(draft: Draft, self: str) -> str:
    """x · tanh(softplus(x)) (Misra 2019)."""
    soft = draft.add("Softplus", self, suffix="softplus")
    return draft.add("Mul", self, draft.add("Tanh", soft, suffix="gate"))


def hard_swish(draft: Draft, self: str) -> str:
    """x · hardsigmoid(x) (Howard et al. 2019)."""
    return draft.add("Mul", self, draft.add("HardSigmoid", self, suffix="gate"))


def log_sigmoid(draft: Draft, self: str) -> str:
    """−softplus(−x)."""
    negative = draft.add("Neg", self, suffix="negative")
    return draft.add("Neg", draft.add("Softplus", negative, suffix="softplus"))


def rsqrt(draft: Draft, self: str) -> str:
    """1 / √x."""
    return draft.add("Reciprocal", draft.add("Sqrt", self, suffix="root"))


def _gelu(draft: Draft, self: str, approximate: str = "none") -> str:
    return draft.add("Gelu", self, approximate=approximate)


def _elu(
    draft: Draft, self: str, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> str:
    if (scale, input_scale) == (1, 1):
        return draft.add("Elu", self, alpha=float(alpha))
    positive = draft.add("Clip", self, suffix="positive", clamp=(0.0, math.inf))
    wide = draft.add("Mul", positive, draft.number(scale), suffix="wide")
    negative = draft.add("Clip", self, suffix="negative", clamp=(-math.inf, 0.0))
    inner = draft.add("Mul", negative, draft.number(input_scale), suffix="inner")
    power = draft.add("Elu", inner, suffix="power", alpha=1.0)
    return draft.add(
        "Add", wide, draft.add("Mul", power, draft.number(scale * alpha), suffix="low")
    )


def _selu(
    draft: Draft, self: str, *, alpha: float | None = None, gamma: float | None = None
) -> str:
    """λ · ELU; numbers that are not those of Klambauer et al. (2017) as ELU has them."""
    numbers = (SELU_ALPHA if alpha is None else alpha, SELU_SCALE if gamma is None else gamma)
    if np.allclose(numbers, (SELU_ALPHA, SELU_SCALE), rtol=1e-6, atol=0):
        return draft.add("Selu", self)
    return _elu(draft, self, numbers[0], scale=numbers[1])


def _celu(draft: Draft, x: str, *, alpha: float = 1.0) -> str:
    """max(x, 0) + min(0, α · (exp(x / α) − 1)) (Barron 2017)."""
    return _elu(draft, x, alpha, input_scale=1 / alpha)


def _softsign(draft: Draft, self: str) -> str:
    """x / (1 + |x|)."""
    size = draft.add("Abs", self, suffix="size")
    return draft.add("Div", self, draft.add("Add", size, draft.number(1), suffix="more"))


def _leaky(draft: Draft, self: str, negative_slope: float = 0.01) -> str:
    return draft.add("LeakyRelu", self, alpha=float(negative_slope))


def _prelu(draft: Draft, self: str, weight: str) -> str:
    slopes = draft.array(weight, "its slopes")
    rank = draft.rank(self)
    if slopes.size > 1 and rank > 2:  # one for each channel
        slopes = slopes.reshape(-1, *[1] * (rank - 2))
        weight = draft.constant(slopes, weight)
    return draft.add("PRelu", self, weight)


def _softplus(draft: Draft, self: str, beta: float = 1, threshold: float = 20) -> str:
    if beta == 1:
        return draft.add("Softplus", self)
    wide = draft.add("Mul", self, draft.number(beta), suffix="scaled")
    soft = draft.add("Softplus", wide, suffix="softplus")
    return draft.add("Mul", soft, draft.number(1 / beta))


def _onnx_hard_sigmoid(draft: Draft, x: str, *, alpha: float = 0.2, beta: float = 0.5) -> str:
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return draft.add("HardSigmoid", x)
    wide = draft.add("Mul", x, draft.number(alpha), suffix="scaled")
    shifted = draft.add("Add", wide, draft.number(beta), suffix="shifted")
    return draft.add("Clip", shifted, clamp=(0.0, 1.0))


# --- meaning


def _torch(name: str) -> Callable[..., Any]:
    def meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
        found = torch
        for part in name.split("."):
            found = getattr(found, part)
        return found(x)

    return meaning


# --- TFLite


def unary(code: int, options: Callable[[], Any] | None = None, *, int8: int = 1) -> TfliteWriter:
    """A writer of an operator on each number, in whatever order they are stored."""

    def write(draft: TfliteDraft, operator: Operator) -> None:
        name = operator.inputs[0]
        source = draft.stored(name)
        output = draft.ordered(operator.output, draft.order(name))
        version = draft.version(operator, int8=int8)
        draft.append(code, [source], output, options() if options else None, version=version)

    write.__doc__ = f"{next(n for n, v in vars(B).items() if v == code)}."
    return write


class _Steps:
    """A chain of TFLite operators on float tensors of one shape."""

    def __init__(self, draft: TfliteDraft, operator: Operator) -> None:
        self.draft, self.operator = draft, operator
        name = operator.inputs[0]
        self.source = draft.stored(name)
        self.output = draft.ordered(operator.output, draft.order(name))
        self.shape = draft.shape(self.output)

    def number(self, value: float) -> int:
        name = f"{self.operator.name}.number.{value}"
        return self.draft.constant(name, np.array([value], np.float32))

    def step(self, code: int, inputs: list[int], label: str, options: Any = None) -> int:
        """Append; an empty label makes the operator's output."""
        result = (
            self.draft.like(self.output, f"{self.operator.name}.{label}", self.shape)
            if label
            else self.output
        )
        self.draft.append(code, inputs, result, options, version=1)
        return result


def reciprocal(draft: TfliteDraft, operator: Operator) -> None:
    """DIV of 1 by it."""
    steps = _Steps(draft, operator)
    steps.step(B.DIV, [steps.number(1.0), steps.source], "", schema.DivOptionsT())


def softplus(draft: TfliteDraft, operator: Operator) -> None:
    """max(x, 0) + log(1 + exp(−|x|)), which no number overflows."""
    steps = _Steps(draft, operator)
    positive = steps.step(B.RELU, [steps.source], "positive")
    size = steps.step(B.ABS, [steps.source], "size", schema.AbsOptionsT())
    negative = steps.step(B.NEG, [size], "negative", schema.NegOptionsT())
    small = steps.step(B.EXP, [negative], "small", schema.ExpOptionsT())
    sum_ = steps.step(B.ADD, [small, steps.number(1.0)], "sum", schema.AddOptionsT())
    logarithm = steps.step(B.LOG, [sum_], "logarithm")
    steps.step(B.ADD, [positive, logarithm], "", schema.AddOptionsT())


def elu(draft: TfliteDraft, operator: Operator) -> None:
    """ELU, or max(x, 0) + α · (exp(min(x, 0)) − 1)."""
    alpha = operator.attributes.get("alpha", 1.0)
    if alpha == 1.0:
        unary(B.ELU)(draft, operator)
    else:
        _scaled_elu(_Steps(draft, operator), 1.0, alpha)


def selu(draft: TfliteDraft, operator: Operator) -> None:
    """λ · ELU with α, both as Klambauer et al. (2017) have them."""
    _scaled_elu(_Steps(draft, operator), SELU_SCALE, SELU_ALPHA)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _scaled_elu(steps: _Steps, scale: float, alpha: float) -> None:
    mul, add, sub = schema.MulOptionsT, schema.AddOptionsT, schema.SubOptionsT
    positive = steps.step(B.RELU, [steps.source], "positive")
    zero = steps.number(0.0)
    negative = steps.step(
        B.MINIMUM, [steps.source, zero], "negative", schema.MaximumMinimumOptionsT()
    )
    power = steps.step(B.EXP, [negative], "power", schema.ExpOptionsT())
    less = steps.step(B.SUB, [power, steps.number(1.0)], "less", sub())
    scaled = steps.step(B.MUL, [less, steps.number(scale * alpha)], "scaled", mul())
    wide = steps.step(B.MUL, [positive, steps.number(scale)], "wide", mul())
    steps.step(B.ADD, [wide, scaled], "", add())


def leaky_relu(draft: TfliteDraft, operator: Operator) -> None:
    """LEAKY_RELU."""

    def options() -> Any:
        chosen = schema.LeakyReluOptionsT()
        chosen.alpha = operator.attributes.get("alpha", 0.01)
        return chosen

    unary(B.LEAKY_RELU, options)(draft, operator)


def prelu(draft: TfliteDraft, operator: Operator) -> None:
    """PRELU with the slopes in the order of the numbers."""
    inputs, output = draft.alike(operator, ranked=True)
    draft.append(B.PRELU, inputs, output, None, version=1)


def gelu(draft: TfliteDraft, operator: Operator) -> None:
    """GELU, exact or with tanh."""

    def options() -> Any:
        chosen = schema.GeluOptionsT()
        chosen.approximate = operator.attributes["approximate"] == "tanh"
        return chosen

    unary(B.GELU, options)(draft, operator)


# Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 7.1.26: |error| < 1.5e-7.
ERF_SLOPE = 0.3275911
ERF_POLYNOMIAL = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def erf(draft: TfliteDraft, operator: Operator) -> None:
    """sign(x) · (1 − p(t) · exp(−x²)), t = 1 / (1 + 0.33 · |x|), to 1.5e-7."""
    steps = _Steps(draft, operator)
    mul, add = schema.MulOptionsT, schema.AddOptionsT
    size = steps.step(B.ABS, [steps.source], "size", schema.AbsOptionsT())
    wide = steps.step(B.MUL, [size, steps.number(ERF_SLOPE)], "wide", mul())
    one = steps.number(1.0)
    more = steps.step(B.ADD, [wide, one], "more", add())
    t = steps.step(B.DIV, [one, more], "t", schema.DivOptionsT())
    total = steps.step(B.MUL, [t, steps.number(ERF_POLYNOMIAL[0])], "term0", mul())
    for i, factor in enumerate(ERF_POLYNOMIAL[1:], 1):
        sum_ = steps.step(B.ADD, [total, steps.number(factor)], f"sum{i}", add())
        total = steps.step(B.MUL, [sum_, t], f"term{i}", mul())
    square = steps.step(B.MUL, [size, size], "square", mul())
    negative = steps.step(B.NEG, [square], "negative", schema.NegOptionsT())
    small = steps.step(B.EXP, [negative], "small", schema.ExpOptionsT())
    rest = steps.step(B.MUL, [total, small], "rest", mul())
    positive = steps.step(B.SUB, [one, rest], "positive", schema.SubOptionsT())
    sign = steps.step(B.SIGN, [steps.source], "sign")
    steps.step(B.MUL, [sign, positive], "", mul())


def hard_sigmoid(draft: TfliteDraft, operator: Operator) -> None:
    """relu6(x + 3) / 6, as ADD and MUL."""
    steps = _Steps(draft, operator)
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    shifted = steps.step(B.ADD, [steps.source, steps.number(3.0)], "shifted", options)
    steps.step(B.MUL, [shifted, steps.number(1 / 6)], "", schema.MulOptionsT())


def write_hard_sigmoid(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """HardSigmoid with a slope of 1/6."""
    draft.node("HardSigmoid", inputs, output, {"alpha": 1 / 6, "beta": 0.5})


def _hard_sigmoid_as_convolution(operator: Operator, source: Value, output: Value) -> Substitution:
    """a depthwise convolution x/6 + 1/2, which saturates at the codes of 0 and 1."""
    operator = replace(operator, clamp=(0.0, 1.0))
    return constant_depthwise(operator, source, output, weight=1 / 6, bias=0.5)


ATEN: dict[str, Reader] = {
    "abs": function("Abs"),
    "ceil": function("Ceil"),
    "cos": function("Cos"),
    "elu": _elu,
    "erf": function("Erf"),
    "exp": function("Exp"),
    "floor": function("Floor"),
    "gelu": _gelu,
    "hardsigmoid": function("HardSigmoid"),
    "hardswish": hard_swish,
    "leaky_relu": _leaky,
    "log": function("Log"),
    "log_sigmoid": log_sigmoid,
    "mish": mish,
    "neg": function("Neg"),
    "prelu": _prelu,
    "reciprocal": function("Reciprocal"),
    "round": function("Round"),
    "rsqrt": rsqrt,
    "selu": _selu,
    "sigmoid": function("Sigmoid"),
    "sign": function("Sign"),
    "silu": silu,
    "sin": function("Sin"),
    "softplus": _softplus,
    "sqrt": function("Sqrt"),
    "tanh": function("Tanh"),
}
ONNX: dict[str, Reader] = {
    "Abs": function("Abs"),
    "Ceil": function("Ceil"),
    "Celu": _celu,
    "Cos": function("Cos"),
    "Elu": lambda draft, x, *, alpha=1.0: _elu(draft, x, alpha),
    "Erf": function("Erf"),
    "Exp": function("Exp"),
    "Floor": function("Floor"),
    "Gelu": lambda draft, x, *, approximate="none": _gelu(draft, x, approximate),
    "HardSigmoid": _onnx_hard_sigmoid,
    "HardSwish": hard_swish,
    "LeakyRelu": lambda draft, x, *, alpha=0.01: _leaky(draft, x, alpha),
    "Log": function("Log"),
    "Mish": mish,
    "Neg": function("Neg"),
    "PRelu": lambda draft, x, slope: draft.add("PRelu", x, slope),
    "Reciprocal": function("Reciprocal"),
    "Round": function("Round"),
    "Selu": _selu,
    "Sigmoid": function("Sigmoid"),
    "Sign": function("Sign"),
    "Sin": function("Sin"),
    "Softplus": function("Softplus"),
    "Softsign": _softsign,
    "Sqrt": function("Sqrt"),
    "Tanh": function("Tanh"),
}
KINDS: dict[str, Kind] = {
    "Abs": Kind(
        unary(B.ABS, schema.AbsOptionsT),
        _torch("abs"),
        dtype=SAME_DTYPE,
        channels=passing.pointwise,
    ),
    "Ceil": Kind(unary(B.CEIL), _torch("ceil"), channels=passing.pointwise),
    "Cos": Kind(unary(B.COS, schema.CosOptionsT), _torch("cos"), channels=passing.pointwise),
    "Elu": Kind(
        elu,
        lambda torch, a, x: torch.nn.functional.elu(x, alpha=a.get("alpha", 1.0)),
        channels=passing.pointwise,
    ),
    "Erf": Kind(erf, _torch("erf"), channels=passing.pointwise),
    "Exp": Kind(unary(B.EXP, schema.ExpOptionsT), _torch("exp"), channels=passing.pointwise),
    "Floor": Kind(unary(B.FLOOR), _torch("floor"), channels=passing.pointwise),
    "Gelu": Kind(
        gelu,
        lambda torch, a, x: torch.nn.functional.gelu(x, approximate=a["approximate"]),
        channels=passing.pointwise,
        conditions="exact or with tanh",
    ),
    "HardSigmoid": Kind(
        hard_sigmoid,
        _torch("nn.functional.hardsigmoid"),
        role=Role.FIXED,
        fixed=HARD_SIGMOID_SCALE,
        onnx=write_hard_sigmoid,
        rounded=_hard_sigmoid_as_convolution,
        channels=passing.pointwise,
        integral=lambda operator, values: len(values[0].shape) in (2, 3, 4),
        conditions="relu6(x + 3) / 6",
    ),
    "HardSwish": Kind(
        unary(B.HARD_SWISH, schema.HardSwishOptionsT),
        _torch("nn.functional.hardswish"),
        role=Role.OWN,
        channels=passing.pointwise,
        conditions="x · HardSigmoid(x), which int8 files keep as it is: the kernels round alike",
    ),
    "LeakyRelu": Kind(
        leaky_relu,
        lambda torch, a, x: torch.nn.functional.leaky_relu(x, a.get("alpha", 0.01)),
        channels=passing.pointwise,
    ),
    "Log": Kind(unary(B.LOG), _torch("log"), channels=passing.pointwise),
    "Neg": Kind(
        unary(B.NEG, schema.NegOptionsT),
        _torch("neg"),
        dtype=SAME_DTYPE,
        channels=passing.pointwise,
    ),
    "PRelu": Kind(
        prelu,
        lambda torch, a, x, slope: torch.where(x >= 0, x, x * slope),
        broadcast_shape,
        channels=passing.pointwise,
        conditions="stored slopes",
    ),
    "Reciprocal": Kind(reciprocal, _torch("reciprocal"), channels=passing.pointwise),
    "Round": Kind(unary(B.ROUND), _torch("round"), channels=passing.pointwise),
    "Selu": Kind(selu, _torch("nn.functional.selu"), channels=passing.pointwise),
    "Sigmoid": Kind(
        unary(B.LOGISTIC),
        _torch("sigmoid"),
        role=Role.FIXED,
        fixed=SIGMOID_SCALE,
        channels=passing.pointwise,
        conditions="int8: in float32 where the results fill a small part of 0..1",
    ),
    "Sign": Kind(unary(B.SIGN), _torch("sign"), channels=passing.pointwise),
    "Sin": Kind(unary(B.SIN), _torch("sin"), channels=passing.pointwise),
    "Softplus": Kind(softplus, _torch("nn.functional.softplus"), channels=passing.pointwise),
    "Sqrt": Kind(unary(B.SQRT), _torch("sqrt"), channels=passing.pointwise),
    "Tanh": Kind(
        unary(B.TANH),
        _torch("tanh"),
        role=Role.FIXED,
        fixed=TANH_SCALE,
        channels=passing.pointwise,
        conditions="int8: in float32 where the results fill a small part of −1..1",
    ),
}
