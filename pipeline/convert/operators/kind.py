"""What a kind of operator is: how each writer writes it, and what holds for its scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeticket.pipeline.convert.graph import Constant, Operator, Value
from edgeticket.pipeline.convert.onnx_draft import OnnxDraft
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft

TfliteWriter = Callable[[TfliteDraft, Operator], None]
OnnxWriter = Callable[[OnnxDraft, Operator, Sequence[str], str], None]
"""Called with the operator, the names of its inputs, and the name of its output."""


def plain(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """The ONNX node that the operator was read from."""
    draft.node(operator.kind, inputs, output, operator.attributes)


@dataclass(frozen=True)
class Substitution:
    """Operators that stand for one, with the constants and values that are new."""

    operators: tuple[Operator, ...]
    constants: Mapping[str, Constant]
    values: tuple[Value, ...] = ()


Substitute = Callable[[Operator, Value, Value], Substitution]
"""Called with an operator, its first input and its output."""


@dataclass(frozen=True)
class Kind:
    """One kind of `Operator`.

    tflite: appends the TFLite operators; tensors bring their own types and scales.
    onnx: appends the ONNX nodes, on real numbers, or on codes if ``keeps_codes``.
    clips: it can clip its own output (`Operator.clamp`).
    keeps_codes: its output holds numbers of its inputs, so all of them share one scale and
        int8 codes pass unchanged.
    real: it is computed in float32, also between rounded values (`pipeline.convert.qdq_insertion`).
    crosses: it turns codes into real numbers or back.
    any_order: it may read flattened maps, whose numbers lie in NHWC order in TFLite files.
    rounded: what stands for it in int8 files, where that is something else.
    conditions: what docs/operators.md says about it.
    """

    tflite: TfliteWriter
    onnx: OnnxWriter = plain
    clips: bool = False
    keeps_codes: bool = False
    real: bool = False
    crosses: bool = False
    any_order: bool = False
    rounded: Substitute | None = None
    conditions: str = ""
