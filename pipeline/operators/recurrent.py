"""Recurrent layers, step by step: LSTM, GRU and RNN become the operators that they are made of.

x·Wᵀ + b of all time steps is one Gemm; a step slices its row from that, adds h·Wᵀ, and is gates.
All steps read one stored weight. So layers need no kernels of their own, and their int8 form is
that of any network: sums align their scales, gates have the fixed scales that kernels insist on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import BatchSize, Draft
from edgeticket.pipeline.graph.graph import Array, Operator, Value
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.axes import as_shape, transpose
from edgeticket.pipeline.operators.channels import cut
from edgeticket.pipeline.operators.functions import SIGMOID_SCALE
from edgeticket.pipeline.operators.kind import Kind, Reader, Role, Substitution
from edgeticket.pipeline.operators.layers import constant_depthwise

B = schema.BuiltinOperator

State = tuple[str, ...]
"""Names of [N, H]: h, and c of an LSTM."""


@dataclass(frozen=True)
class Weights:
    """Of one direction of one layer; rows are the gates one below the other.

    x: [gates · H, I].
    h: [gates · H, H].
    reset: [H, H], of a GRU that resets the state before it multiplies; its rows are not in ``h``.
    x_bias, h_bias: for each row; "" is none.
    """

    x: str
    h: str
    x_bias: str = ""
    h_bias: str = ""
    reset: str = ""


class Steps:
    """The operators of one time step."""

    def __init__(self, draft: Draft, weights: Weights, label: str = "") -> None:
        self.draft, self.weights, self.label = draft, weights, label
        self.size = draft.shape(weights.h)[1]

    def add(self, kind: str, *inputs: str, suffix: str, **settings: Any) -> str:
        """`Draft.add` under the name of the step."""
        return self.draft.add(kind, *inputs, suffix=f"{self.label}{suffix}", **settings)

    def gate(self, source: str, index: int, name: str, *, count: int = 1) -> str:
        """``count`` gates of [N, gates · H] from the one at ``index`` on."""
        first = index * self.size
        last = first + count * self.size
        return cut(self.draft, source, 1, first, last, suffix=f"{self.label}{name}")

    def times(self, source: str, weight: str, bias: str, name: str) -> str:
        """source·Wᵀ + b."""
        inputs = [source, weight, bias] if bias else [source, weight]
        return self.add("Gemm", *inputs, suffix=name, transB=1)

    def zero(self, x: str) -> str:
        """[N, H] of zeros that has as many rows as there are examples.

        Clipping gives it, so that int8 files have it as codes.
        """
        return self.add("Clip", self.gate(x, 0, "any"), suffix="zero", clamp=(0.0, 0.0))

    def flowing(self, x: str, row: Array) -> str:
        """[N, H] that has stored numbers in each row; a layer, as sums of codes know no others."""
        weight = self.draft.constant(np.zeros((self.size, self.size), np.float32))
        return self.times(self.zero(x), weight, self.draft.constant(row), "initial")


Cell = Callable[[Steps, str, State | None], State]
"""(steps, [N, gates · H] that the input gives, state before or None where that is zero) -> after"""


def lstm(order: str) -> Cell:
    """Hochreiter and Schmidhuber (1997) with a forget gate; ``order`` of i, f, g and o in rows."""

    def step(steps: Steps, x: str, state: State | None) -> State:
        gates = x
        if state is not None:
            product = steps.times(state[0], steps.weights.h, steps.weights.h_bias, "state")
            gates = steps.add("Add", x, product, suffix="gates")

        def gate(name: str, kind: str) -> str:
            return steps.add(kind, steps.gate(gates, order.index(name), f"{name}_sum"), suffix=name)

        memory = steps.add("Mul", gate("i", "Sigmoid"), gate("g", "Tanh"), suffix="new")
        if state is not None:
            kept = steps.add("Mul", gate("f", "Sigmoid"), state[1], suffix="kept")
            memory = steps.add("Add", kept, memory, suffix="c")
        bounded = steps.add("Tanh", memory, suffix="c_tanh")
        return steps.add("Mul", gate("o", "Sigmoid"), bounded, suffix="h"), memory

    return step


def gru(order: str) -> Cell:
    """Cho et al. (2014); ``order`` of r and z in rows, n comes last.

    h = (1 − z)⊙n + z⊙h: products have scales of their own, so the sum can align them and stays
    integer; n + z⊙(h − n), which has fewer products, would align the fixed scale of n. 1 − z is an
    operator of its own, exact on codes; σ of negated rows of the weight would give the same codes,
    but training would part the two copies of those rows.
    """

    def step(steps: Steps, x: str, state: State | None) -> State:
        weights = steps.weights
        h = state[0] if state is not None else None
        if h is None and weights.h_bias:  # r gates a bias: there is something to add
            h = steps.zero(x)
        gates, new = steps.gate(x, 0, "rz_x", count=2), steps.gate(x, 2, "n_x")
        if h is None:
            z = steps.add("Sigmoid", steps.gate(x, order.index("z"), "z_sum"), suffix="z")
        else:
            product = steps.times(h, weights.h, weights.h_bias, "state")
            both = steps.add("Add", gates, steps.gate(product, 0, "rz_h", count=2), suffix="rz_sum")
            rz = steps.add("Sigmoid", both, suffix="rz")
            r, z = (steps.gate(rz, order.index(name), name) for name in "rz")
            if weights.reset:
                kept = steps.add("Mul", r, h, suffix="kept")
                recalled = steps.times(kept, weights.reset, "", "recalled")
            else:
                recalled = steps.add("Mul", r, steps.gate(product, 2, "n_h"), suffix="recalled")
            new = steps.add("Add", new, recalled, suffix="n_sum")
        new = steps.add("Tanh", new, suffix="n")
        share = steps.add("Complement", z, suffix="z_rest")
        result = steps.add("Mul", share, new, suffix="new" if state else "h")
        if state is not None:
            old = steps.add("Mul", z, state[0], suffix="old")
            result = steps.add("Add", result, old, suffix="h")
        return (result,)

    return step


def rnn(activation: str) -> Cell:
    """Elman (1990): tanh or relu of the sum."""

    def step(steps: Steps, x: str, state: State | None) -> State:
        total = x
        if state is not None:
            product = steps.times(state[0], steps.weights.h, steps.weights.h_bias, "state")
            total = steps.add("Add", x, product, suffix="sum")
        if activation == "tanh":
            return (steps.add("Tanh", total, suffix="h"),)
        return (steps.add("Clip", total, suffix="h", clamp=(0.0, float("inf"))),)

    return step


# --- sequences


@dataclass(frozen=True)
class Layer:
    """All steps of one layer, in its directions."""

    draft: Draft
    cell: Cell
    time: int  # axis of its input, [N, T, I] or [T, N, I]

    def run(
        self,
        source: str,
        directions: Sequence[Weights],
        initial: Sequence[Sequence[str | Array | None]],
        *,
        backwards: Sequence[bool],
        label: str,
    ) -> tuple[list[list[str]], list[State]]:
        """For each step the h of each direction, and for each direction its last state."""
        draft, length = self.draft, step_count(self.draft, source, self.time)
        outputs: list[list[str]] = [[] for _ in range(length)]
        last: list[State] = []
        for weights, given, back in zip(directions, initial, backwards, strict=True):
            place = f"{label}reverse_" if back and len(directions) > 1 else label
            rows = self._rows(source, weights, place)
            state: State | None = None
            for t in reversed(range(length)) if back else range(length):
                steps = Steps(draft, weights, f"{place}t{t}_")
                x = self._row(rows, t, steps)
                if state is None:
                    state = started(steps, x, given)
                state = self.cell(steps, x, state)
                outputs[t].append(state[0])
            assert state is not None
            last.append(state)
        return outputs, last

    def _rows(self, source: str, weights: Weights, label: str) -> str:
        bias = [weights.x_bias] if weights.x_bias else []
        return self.draft.add("Gemm", source, weights.x, *bias, suffix=f"{label}input", transB=1)

    def _row(self, rows: str, t: int, steps: Steps) -> str:
        size = self.draft.shape(rows)[2]
        row = cut(self.draft, rows, self.time, t, t + 1, suffix=f"{steps.label}slice")
        return steps.add("Reshape", row, suffix="x", shape=[BatchSize(1), size], free=[-1, size])


def step_count(draft: Draft, source: str, time: int) -> int:
    """The size of the axis of time.

    Raises:
        InputError: examples lie along it, so that they would depend on each other.
    """
    length = draft.shape(source)[time]
    if isinstance(length, BatchSize):
        raise draft.refuse(
            "takes the examples for steps of time: give it [examples, steps, features] and "
            "batch_first=True"
        )
    return length


def started(steps: Steps, x: str, given: Sequence[str | Array | None]) -> State | None:
    """The state before the first step, as far as it is not zero."""
    if all(part is None for part in given):
        return None
    parts = []
    for part in given:
        if part is None:
            parts.append(steps.zero(x))
        else:
            parts.append(part if isinstance(part, str) else steps.flowing(x, part))
    return tuple(parts)


def initial_state(draft: Draft, name: str, index: int, axis: int = 0) -> str | Array | None:
    """What is at ``index`` of stored or flowing initial states: [N, H], a row, or None for zeros.

    Args:
        name: "" for none, [N, H], or three axes, of which ``axis`` counts layers and directions.
    """
    if not name:
        return None
    shape = draft.shape(name)
    if draft.is_constant(name):
        numbers = draft.array(name)
        rows = numbers if len(shape) == 2 else numbers.take(index, axis)
        if len(rows) != 1:
            raise draft.refuse(f"starts {len(rows)} examples differently: give one state for all")
        return rows[0] if rows.any() else None
    if len(shape) == 2:
        return name
    part = cut(draft, name, axis, index, index + 1, suffix=f"initial{index}")
    return _reshaped(draft, part, (None, shape[-1]), f"initial{index}_state")


def _reshaped(draft: Draft, source: str, form: Sequence[int | None], suffix: str) -> str:
    """Reshape; None is the axis of the batch."""
    shape = [BatchSize(1) if n is None else n for n in form]
    free = [-1 if n is None else n for n in form]
    if draft.shape(source) == tuple(shape):
        return source
    return draft.add("Reshape", source, suffix=suffix, shape=shape, free=free)


def _joined(draft: Draft, parts: Sequence[str], axis: int, suffix: str) -> str:
    if len(parts) == 1:
        return parts[0]
    return draft.add("Concat", *parts, suffix=suffix, axis=axis)


def _sequence(draft: Draft, outputs: Sequence[Sequence[str]], time: int, suffix: str = "") -> str:
    """h of all steps -> [N, T, directions · H], or time first."""
    wide = []
    for t, parts in enumerate(outputs):
        both = _joined(draft, parts, 1, f"{suffix}t{t}_both")
        size = draft.shape(both)[1]
        form = [1, None, size] if time == 0 else [None, 1, size]
        wide.append(_reshaped(draft, both, form, f"{suffix}t{t}_output"))
    return _joined(draft, wide, time, suffix.rstrip("_"))


def _states(draft: Draft, parts: Sequence[str], suffix: str, axis: int = 0) -> str:
    """[N, H] of all layers and directions -> [layers · directions, N, H], or those second."""
    wide = []
    for i, part in enumerate(parts):
        size = draft.shape(part)[1]
        form = [1, None, size] if axis == 0 else [None, 1, size]
        wide.append(_reshaped(draft, part, form, f"{suffix}{i}"))
    return _joined(draft, wide, axis, suffix)


# --- ATen


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


CELLS: dict[str, Cell] = {
    "lstm": lstm("ifgo"),
    "gru": gru("rz"),
    "rnn_tanh": rnn("tanh"),
    "rnn_relu": rnn("relu"),
}


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
            source = _sequence(draft, outputs, layer.time, "" if top else label)
            last += ends
        parts = zip(("last_h", "last_c"), zip(*last, strict=True), strict=False)
        return [source, *(_states(draft, names, suffix) for suffix, names in parts)]

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


# --- ONNX


def _onnx_lstm(
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


def _onnx_gru(
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


def _onnx_rnn(
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
        sequence = self._as_onnx(_sequence(draft, list(zip(*outputs, strict=True)), self.time))
        parts = zip(("last_h", "last_c"), zip(*last, strict=True), strict=False)
        return [sequence, *(_states(draft, names, s, axis=self.layout) for s, names in parts)]

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


# --- 1 − x


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


ATEN: dict[str, Reader] = {
    **{name: _aten(name) for name in CELLS},
    **{f"{name}_cell": _aten_cell(name) for name in CELLS},
}
ONNX: dict[str, Reader] = {"GRU": _onnx_gru, "LSTM": _onnx_lstm, "RNN": _onnx_rnn}
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
