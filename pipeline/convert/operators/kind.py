"""What a kind of operator is: how each writer writes it, and what holds for its scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.convert.graph import Operator
from pipeline.convert.onnx_draft import OnnxDraft
from pipeline.convert.tflite_draft import TfliteDraft

TfliteWriter = Callable[[TfliteDraft, Operator], None]
OnnxWriter = Callable[[OnnxDraft, Operator, Sequence[str], str], None]
"""Called with the operator, the names of its inputs, and the name of its output."""


def plain(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """The ONNX node that the operator was read from."""
    draft.node(operator.kind, inputs, output, operator.attributes)


@dataclass(frozen=True)
class Kind:
    """One kind of `Operator`.

    tflite: appends the TFLite operators; tensors bring their own types and scales.
    onnx: appends the ONNX nodes, on real numbers, or on codes if ``keeps_codes``.
    clips: it can clip its own output (`Operator.clamp`).
    keeps_codes: its output holds numbers of its inputs, so all of them share one scale and
        int8 codes pass unchanged.
    real: it is computed in float32, also between rounded values (`pipeline.convert.domains`).
    crosses: it turns codes into real numbers or back.
    as_tflite: the TFLite operators it becomes, for docs/operators.md.
    conditions: what is refused, for docs/operators.md.
    """

    tflite: TfliteWriter
    onnx: OnnxWriter = plain
    clips: bool = False
    keeps_codes: bool = False
    real: bool = False
    crosses: bool = False
    as_tflite: str = ""
    conditions: str = ""
