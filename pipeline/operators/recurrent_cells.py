"""One time step of a recurrent layer: LSTM, GRU, a simple one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Array
from edgeticket.pipeline.operators.kind import Kind, Reader
from edgeticket.pipeline.operators.slices import cut

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


CELLS: dict[str, Cell] = {
    "lstm": lstm("ifgo"),
    "gru": gru("rz"),
    "rnn_tanh": rnn("tanh"),
    "rnn_relu": rnn("relu"),
}


ATEN: dict[str, Reader] = {}


KINDS: dict[str, Kind] = {}
