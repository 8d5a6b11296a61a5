"""What an operator is: everything that the rest of the program may ask about one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import BatchSize
from edgeticket.pipeline.graph.graph import Constant, Operator, Value

Shape = tuple[int, ...]
Attributes = Mapping[str, Any]

TfliteWriter = Callable[[TfliteDraft, Operator], None]
OnnxWriter = Callable[[OnnxDraft, Operator, Sequence[str], str], None]
"""Called with the operator, the names of its inputs, and the name of its output."""

Shaper = Callable[..., Shape]
"""(attributes, shape of each input) -> shape of the output, batch included."""

Meaning = Callable[..., Any]
"""(torch, attributes, value of each input) -> the output: what the operator computes.

``torch`` is the package, handed in, because files that devices and writers share import none.
"""

Reader = Callable[..., Any]
"""(draft, inputs and attributes as ATen or ONNX names them) -> name of the output, or names.

A node may become several operators (`Draft.add`). An absent input is "".
"""

Counter = Callable[..., int]
"""(attributes, output shape, shape of each input) -> multiply-accumulates."""


Passing = Callable[[Any, Operator, Any], None]
"""(flow of channels, operator, its kind): follows channels through it (`operators.passing`)."""


class Role(Enum):
    """How an operator is rounded."""

    LAYER = "weights and bias are rounded, the output has a scale of its own"
    SUM = "the scales of both inputs and of the output are aligned"
    OWN = "the output has a scale of its own"
    PRODUCT = "as OWN, of two tensors"
    FIXED = "the output has one scale, whatever the data, or a finer one (`quantize.functions`)"
    CLAMP = "the output has the scale of the input, or it shares one with the step before it"
    SAME = "numbers of the input, unchanged: the scale of the input"
    JOIN = "numbers of all inputs, unchanged: one scale for all of them"
    REAL = "computed in float32; the output is rounded only where a layer reads it"
    CROSSING = "between codes and real numbers"


KEEPING = frozenset({Role.CLAMP, Role.SAME, Role.JOIN})


def plain(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """The ONNX node that the operator was read from."""
    draft.node(operator.kind, inputs, output, operator.attributes)


def same_shape(attributes: Attributes, shape: Shape, *others: Shape) -> Shape:
    """The output has the shape of the first input."""
    return shape


def broadcast_shape(attributes: Attributes, *shapes: Shape) -> Shape:
    """NumPy's rule: axes are aligned at the end, and sizes of 1 are repeated."""
    rank = max(map(len, shapes))
    wide = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result = []
    for sizes in zip(*wide, strict=True):
        largest = max(sizes, key=lambda size: (size, isinstance(size, BatchSize)))
        if any(size not in (1, largest) for size in sizes):
            raise ValueError(f"shapes {[list(s) for s in shapes]} cannot be broadcast together")
        result.append(0 if 0 in sizes else largest)
    return tuple(result)


def no_macs(attributes: Attributes, output: Shape, *shapes: Shape) -> int:
    """None: it multiplies no weights."""
    return 0


@dataclass(frozen=True)
class Substitution:
    """Operators that stand for one, with the constants and values that are new."""

    operators: tuple[Operator, ...]
    constants: Mapping[str, Constant]
    values: tuple[Value, ...] = ()


Substitute = Callable[[Operator, Value, Value], Substitution]
"""Called with an operator, its first input and its output."""


def always(operator: Operator, values: Sequence[Value]) -> bool:
    """Every such operator has an integer form."""
    return True


@dataclass(frozen=True)
class Kind:
    """One kind of `Operator`.

    tflite: appends the TFLite operators; tensors bring their own types and scales. None: TFLite has
        no counterpart.
    meaning: what it computes, in torch. None: it stands only in graphs that are written.
    shape: of its output.
    role: how it is rounded.
    onnx: appends the ONNX nodes, on real numbers, or on codes if it keeps codes.
    macs: what it costs.
    fixed: scale and zero point of its output that its integer kernels insist on, of Role.FIXED.
    clips: it can clip its own output (`Operator.clamp`).
    any_order: it may read flattened maps, whose numbers lie in NHWC order in TFLite files.
    rounded: what stands for it in int8 files, where that is something else.
    integral: whether this one (operator; inputs and output, all rounded) has an integer form that
        both runtimes round alike; else it is computed in float32.
    dtype: of its output; or `draft.SAME_DTYPE`, `draft.GIVEN_DTYPE`.
    channels: how channels pass through it. None: what it reads keeps all of its channels.
    conditions: what docs/operators.md says about it.
    """

    tflite: TfliteWriter | None
    meaning: Meaning | None = None
    shape: Shaper = same_shape
    role: Role = Role.REAL
    onnx: OnnxWriter = plain
    macs: Counter = no_macs
    fixed: tuple[float, int] | None = None
    clips: bool = False
    any_order: bool = False
    rounded: Substitute | None = None
    integral: Callable[[Operator, Sequence[Value]], bool] = always
    dtype: str = "float32"
    channels: Passing | None = None
    conditions: str = ""

    @property
    def keeps_codes(self) -> bool:
        """Its output holds numbers of its inputs: all share one scale, codes pass unchanged."""
        return self.role in KEEPING

    @property
    def real(self) -> bool:
        """It is computed in float32, also between rounded values."""
        return self.role is Role.REAL

    @property
    def crosses(self) -> bool:
        """It turns codes into real numbers or back."""
        return self.role is Role.CROSSING
