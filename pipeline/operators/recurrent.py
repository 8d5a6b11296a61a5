"""Recurrent layers, step by step: LSTM, GRU and RNN become the operators that they are made of.

x·Wᵀ + b of all time steps is one Gemm; a step slices its row from that, adds h·Wᵀ, and is gates.
All steps read one stored weight. So layers need no kernels of their own, and their int8 form is
that of any network: sums align their scales, gates have the fixed scales that kernels insist on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Operator, Value
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.functions import SIGMOID_SCALE
from edgeticket.pipeline.operators.kind import Kind, Reader, Role, Substitution
from edgeticket.pipeline.operators.layers import constant_depthwise
from edgeticket.pipeline.operators.recurrent_cells import CELLS, Steps, Weights
from edgeticket.pipeline.operators.recurrent_layers import (
    Layer,
    initial_state,
    sequence_of,
    started,
    states_of,
    step_count,
)
from edgeticket.pipeline.operators.recurrent_onnx import onnx_gru, onnx_lstm, onnx_rnn

B = schema.BuiltinOperator


def _merged(draft: Draft, x_bias: str, h_bias: str) -> str:
    """One bias for both products: the first step then needs the input's alone."""
    if not x_bias:
        return ""
    name = f"{x_bias}_and_{h_bias.rpartition('.')[2]}"
    if name not in draft.constants:
        draft.constant(draft.array(x_bias) + draft.array(h_bias), name)
    return name


def _weights(
    draft: Draft, cell: str, x: str, h: str, x_bias: str = "", h_bias: str = ""
) -> Weights:
    if cell == "gru":
        return Weights(x, h, x_bias, h_bias)
    return Weights(x, h, _merged(draft, x_bias, h_bias))


def _aten(cell: str) -> Reader:
    def read(
        draft: Draft,
        input: str = "",
        hx: Any = "",
        params: Sequence[str] = (),
        has_biases: bool = True,
        num_layers: int = 1,
        dropout: float = 0.0,
        train: bool = False,
        bidirectional: bool = False,
        batch_first: bool = False,
        **packed: Any,
    ) -> list[str]:
        if packed or not input:
            raise draft.refuse("reads a packed sequence: give it the padded tensor")
        count, each = 1 + bidirectional, 4 if has_biases else 2
        if len(params) != num_layers * count * each:
            raise draft.refuse(
                "projects its state (proj_size): set that to 0, and put a linear layer behind it"
            )
        states = [hx] if isinstance(hx, str) else hx
        layer = Layer(draft, CELLS[cell], 1 if batch_first else 0)
        step_count(draft, input, layer.time)  # before the states, which it may be the cause of
        source, last = input, []
        for i in range(num_layers):
            numbers = range(i * count, (i + 1) * count)
            label = f"l{i}_" if num_layers > 1 else ""
            outputs, ends = layer.run(
                source,
                [_weights(draft, cell, *params[k * each : (k + 1) * each]) for k in numbers],
                [[initial_state(draft, name, k) for name in states] for k in numbers],
                backwards=[False, True][:count],
                label=label,
            )
            top = i == num_layers - 1
            source = sequence_of(draft, outputs, layer.time, "" if top else label)
            last += ends
        parts = zip(("last_h", "last_c"), zip(*last, strict=True), strict=False)
        return [source, *(states_of(draft, names, suffix) for suffix, names in parts)]

    return read


def _aten_cell(cell: str) -> Reader:
    def read(
        draft: Draft, input: str, hx: Any, w_ih: str, w_hh: str, b_ih: str = "", b_hh: str = ""
    ) -> Any:
        weights = _weights(draft, cell, w_ih, w_hh, b_ih, b_hh)
        steps = Steps(draft, weights)
        states = [hx] if isinstance(hx, str) else hx
        x = steps.times(input, weights.x, weights.x_bias, "input")
        before = started(steps, x, [initial_state(draft, name, 0) for name in states])
        after = CELLS[cell](steps, x, before)
        return list(after) if cell == "lstm" else after[0]

    return read


def write_complement_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """SUB from 1."""
    name = operator.inputs[0]
    source = draft.stored(name)
    output = draft.ordered(operator.output, draft.order(name))
    one = draft.constant(f"{operator.name}.one", np.ones(1, np.float32))
    draft.append(B.SUB, [one, source], output, schema.SubOptionsT(), version=1)


def write_complement(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """Sub from 1."""
    one = draft.tensor("number.1", np.asarray(1, np.float32))
    draft.node("Sub", [one, *inputs], output)


def _complement_as_convolution(operator: Operator, source: Value, output: Value) -> Substitution:
    """a depthwise convolution 1 − x, exact where both scales are those of Sigmoid."""
    return constant_depthwise(operator, source, output, weight=-1.0, bias=1.0)


ONNX: dict[str, Reader] = {"GRU": onnx_gru, "LSTM": onnx_lstm, "RNN": onnx_rnn}


ATEN: dict[str, Reader] = {
    **{name: _aten(name) for name in CELLS},
    **{f"{name}_cell": _aten_cell(name) for name in CELLS},
}


KINDS: dict[str, Kind] = {
    "Complement": Kind(
        write_complement_tflite,
        lambda torch, attributes, x: 1 - x,
        role=Role.FIXED,
        onnx=write_complement,
        fixed=SIGMOID_SCALE,
        rounded=_complement_as_convolution,
        channels=passing.pointwise,
        conditions="1 − x of a gate, read from GRU",
    ),
}
