"""Recurrent layers as ONNX has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Array
from edgeticket.pipeline.operators.axes import as_shape, transpose
from edgeticket.pipeline.operators.kind import Kind, Reader
from edgeticket.pipeline.operators.recurrent_cells import CELLS, Cell, Weights, rnn
from edgeticket.pipeline.operators.recurrent_layers import (
    Layer,
    initial_state,
    sequence_of,
    states_of,
    step_count,
)

B = schema.BuiltinOperator


def onnx_lstm(
    draft: Draft,
    x: str,
    w: str,
    r: str,
    b: str = "",
    sequence_lens: str = "",
    initial_h: str = "",
    initial_c: str = "",
    p: str = "",
    *,
    input_forget: int = 0,
    **settings: Any,
) -> list[str]:
    if input_forget or (p and draft.array(p, "its peepholes").any()):
        raise draft.refuse("has peepholes or couples its gates: only a plain LSTM can be written")
    reader = _Onnx(draft, x, w, r, b, sequence_lens, ["Sigmoid", "Tanh", "Tanh"], settings, IOFG)
    weights = [reader.weights(i) for i in range(reader.count)]
    return reader.run([CELLS["lstm"]] * reader.count, weights, [initial_h, initial_c])


def onnx_gru(
    draft: Draft,
    x: str,
    w: str,
    r: str,
    b: str = "",
    sequence_lens: str = "",
    initial_h: str = "",
    *,
    linear_before_reset: int = 0,
    **settings: Any,
) -> list[str]:
    reader = _Onnx(draft, x, w, r, b, sequence_lens, ["Sigmoid", "Tanh"], settings, ZRN)
    weights = [
        reader.weights(i, apart=bool(linear_before_reset), reset=not linear_before_reset)
        for i in range(reader.count)
    ]
    return reader.run([CELLS["gru"]] * reader.count, weights, [initial_h])


def onnx_rnn(
    draft: Draft,
    x: str,
    w: str,
    r: str,
    b: str = "",
    sequence_lens: str = "",
    initial_h: str = "",
    *,
    activations: Sequence[Any] = (),
    **settings: Any,
) -> list[str]:
    reader = _Onnx(draft, x, w, r, b, sequence_lens, [], settings, (0,))
    names = [_text(name).lower() for name in activations] or ["tanh"] * reader.count
    if not {*names} <= {"tanh", "relu"} or len(names) != reader.count:
        raise draft.refuse(f"has activations {names}: only Tanh and Relu can be written")
    weights = [reader.weights(i) for i in range(reader.count)]
    return reader.run([rnn(name) for name in names], weights, [initial_h])


# Where ONNX has the gates that PyTorch has as i, f, g, o, and as r, z, n.
IOFG, ZRN = (0, 2, 3, 1), (1, 0, 2)


class _Onnx:
    """What LSTM, GRU and RNN have in common; see the ONNX operators of these names."""

    def __init__(
        self,
        draft: Draft,
        x: str,
        w: str,
        r: str,
        b: str,
        lengths: str,
        activations: Sequence[str],
        settings: dict[str, Any],
        order: Sequence[int],
    ) -> None:
        self.draft, self.x = draft, x
        # PyTorch's exporters exchange the axes in front of it, and back behind it.
        turned = draft.made.get(x)
        self.turned = turned is not None and turned.attributes.get("perm") == [1, 0, 2]
        if turned is not None and self.turned:
            (self.x,) = turned.inputs
        self.order = order
        self.tensors = [draft.array(name, "its weights") for name in (w, r)]
        self.bias = draft.array(b, "its bias") if b else None
        self.layout = int(settings.pop("layout", 0))
        direction = settings.pop("direction", "forward")
        self.backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
            direction
        ]
        self.count = len(self.backwards)
        settings.pop("hidden_size", None)
        given = [_text(name) for name in settings.pop("activations", None) or []]
        if given and given != list(activations) * self.count:
            raise draft.refuse(f"has activations {given}: only {list(activations)} can be written")
        if settings:
            raise draft.refuse(f"has {', '.join(sorted(settings))}, which cannot be written")
        if self.layout and self.turned:
            self.x, self.turned = x, False
        length = step_count(draft, self.x, self.time)
        if lengths and (draft.array(lengths, "its lengths") != length).any():
            raise draft.refuse("has sequences of several lengths: give one length")

    @property
    def time(self) -> int:
        """The axis of time."""
        return 1 if self.layout or self.turned else 0

    def weights(self, index: int, *, apart: bool = False, reset: bool = False) -> Weights:
        """Of one direction.

        Args:
            apart: the state's bias stays with the state's product.
            reset: the last gate's rows of R stand alone.
        """
        draft, place = self.draft, f"{self.draft.step}_{'reverse_' if index else ''}"
        w, r = (self._in_order(tensor[index]) for tensor in self.tensors)
        names = {"x": draft.constant(w, f"{place}weight_ih")}
        if reset:
            size = r.shape[1]
            names["reset"] = draft.constant(r[2 * size :], f"{place}weight_reset")
            r = r[: 2 * size]
        names["h"] = draft.constant(r, f"{place}weight_hh")
        if self.bias is not None:
            x_bias, h_bias = map(self._in_order, np.split(self.bias[index], 2))
            if apart:
                names["h_bias"] = draft.constant(h_bias, f"{place}bias_hh")
            else:
                x_bias = x_bias + h_bias
            names["x_bias"] = draft.constant(x_bias, f"{place}bias_ih")
        return Weights(**names)

    def run(
        self, cells: Sequence[Cell], weights: Sequence[Weights], given: Sequence[str]
    ) -> list[str]:
        """Y, Y_h, and Y_c of an LSTM."""
        draft, outputs, last = self.draft, [], []
        for i, (cell, back) in enumerate(zip(cells, self.backwards, strict=True)):
            found, ends = Layer(draft, cell, self.time).run(
                self.x,
                [weights[i]],
                [[initial_state(draft, name, i, axis=self.layout) for name in given]],
                backwards=[back],
                label="reverse_" if i else "",
            )
            outputs.append([step[0] for step in found])
            last += ends
        sequence = self._as_onnx(sequence_of(draft, list(zip(*outputs, strict=True)), self.time))
        parts = zip(("last_h", "last_c"), zip(*last, strict=True), strict=False)
        return [sequence, *(states_of(draft, names, s, axis=self.layout) for s, names in parts)]

    def _in_order(self, rows: Array) -> Array:
        """The gates in PyTorch's order, so that a layer is the same however it is given."""
        gates = np.split(rows, len(self.order))
        return np.concatenate([gates[i] for i in self.order])

    def _as_onnx(self, sequence: str) -> str:
        """[N, T, directions · H] or [T, N, directions · H] -> what ONNX's Y is."""
        draft = self.draft
        if self.count == 1 and not self.layout:
            if self.turned:
                sequence = transpose(draft, sequence, [1, 0, 2], suffix="turned")
            steps, batch, size = draft.shape(sequence)
            return as_shape(draft, sequence, (steps, 1, batch, size), suffix="y")
        *outer, size = draft.shape(sequence)
        apart = as_shape(
            draft, sequence, (*outer, self.count, size // self.count), suffix="directions"
        )
        if self.layout:
            return apart
        return transpose(draft, apart, [1, 2, 0, 3] if self.turned else [0, 2, 1, 3], suffix="y")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


ATEN: dict[str, Reader] = {}


KINDS: dict[str, Kind] = {}
