"""Operators that join, cut, shuffle and multiply maps, written for both runtimes and run there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_convert_operators import (
    assert_float_files_agree,
    assert_int8_files_agree,
    graph_of,
    layer,
    scale,
    seeds,
)

from edgeticket.pipeline.convert.qdq_insertion import is_integer
from edgeticket.pipeline.graph.graph import Constant, Operator, Quantization, Value
from edgeticket.pipeline.operators import KINDS

SIZE = (7, 5)


def check(
    operators: list[Operator],
    values: list[tuple[str, tuple[int, ...], Quantization]],
    constants: dict[str, Constant],
    *,
    int8: bool,
    seed: int,
) -> None:
    made = [Value(name, shape, q if int8 else None) for name, shape, q in values]
    graph = graph_of(operators, made, constants)
    (assert_int8_files_agree if int8 else assert_float_files_agree)(
        graph, np.random.default_rng(seed)
    )


def pointwise(name: str, source: str, output: str) -> Operator:
    window = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}
    return Operator(name, "Conv", (source, "w", "b"), output, {**window, "group": 1})


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(0, 2), st.booleans(), seeds)
def test_joined_and_cut_again(channels: int, cut: int, int8: bool, seed: int) -> None:
    """conv(x) joined to x, and a stretch of channels and rows cut out of that."""
    rng = np.random.default_rng(seed)
    shared = scale(rng, 0.02, 0.05)
    total = channels + 4
    begin, size = [0, cut, 1, 0], [1, total - cut, SIZE[0] - 1, SIZE[1]]
    check(
        [
            pointwise("conv", "x", "c"),
            Operator("join", "Concat", ("c", "x"), "j", {"axis": 1}),
            Operator(
                "cut", "Slice", ("j",), "y", {"begin": begin, "size": size, "steps": [1, 1, 1, 1]}
            ),
        ],
        [
            ("x", (1, 4, *SIZE), shared),
            ("c", (1, channels, *SIZE), shared),
            ("j", (1, total, *SIZE), shared),
            ("y", tuple(size), shared),
        ],
        layer(rng, (channels, 4, 1, 1), int8=int8),
        int8=int8,
        seed=seed,
    )


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("groups", [2, 3])
def test_shuffled_channels(groups: int, int8: bool) -> None:
    q = Quantization(np.float32(0.03), -7)
    check(
        [Operator("shuffle", "ChannelShuffle", ("x",), "y", {"groups": groups})],
        [("x", (1, 12, *SIZE), q), ("y", (1, 12, *SIZE), q)],
        {},
        int8=int8,
        seed=0,
    )


@pytest.mark.parametrize("int8", [False, True])
def test_zeros_around_a_map(int8: bool) -> None:
    q = Quantization(np.float32(0.03), -7)
    sides = {"before": [0, 1, 2, 0], "after": [0, 0, 1, 3]}
    check(
        [Operator("pad", "Pad", ("x",), "y", sides)],
        [("x", (1, 4, *SIZE), q), ("y", (1, 5, SIZE[0] + 3, SIZE[1] + 3), q)],
        {},
        int8=int8,
        seed=0,
    )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.sampled_from([(1, 6, *SIZE), (1, 6, 1, 1)]),
    st.booleans(),
    st.sampled_from([None, (0.0, math.inf)]),
    st.booleans(),
    seeds,
)
def test_products(
    other: tuple[int, ...],
    swapped: bool,
    clamp: tuple[float, float] | None,
    int8: bool,
    seed: int,
) -> None:
    """x · conv(mean(x)) or x · conv(x), as in squeeze-and-excitation."""
    rng = np.random.default_rng(seed)
    source, gate = scale(rng, 0.02, 0.05), scale(rng, 0.02, 0.05)
    squeezed = other[2:] == (1, 1)
    shrink = Operator("mean", "GlobalAveragePool", ("x",), "m")
    inputs = ("g", "x") if swapped else ("x", "g")
    constants = layer(rng, (6, 6, 1, 1), int8=int8)
    check(
        [
            *([shrink] if squeezed else []),
            pointwise("conv", "m" if squeezed else "x", "g"),
            Operator("mul", "Mul", inputs, "y", clamp=clamp),
        ],
        [
            ("x", (1, 6, *SIZE), source),
            ("m", (1, 6, 1, 1), source),
            ("g", other, gate),
            ("y", (1, 6, *SIZE), scale(rng, 0.05, 0.2)),
        ],
        constants,
        int8=int8,
        seed=seed,
    )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.sampled_from([(1, 6, *SIZE), (1, 6)]),
    st.floats(1e-7, 0.1),
    st.integers(-128, 127),
)
def test_hard_sigmoids_are_right_for_every_code(
    shape: tuple[int, ...], step: float, zero_point: int
) -> None:
    source = Quantization(np.float32(step), zero_point)
    target = Quantization(np.float32(1 / 255.25), -128)
    values = [Value("x", shape, source), Value("y", shape, target)]
    gate = Operator("gate", "HardSigmoid", ("x",), "y")
    substitute = KINDS["HardSigmoid"].rounded
    assert substitute is not None
    made = substitute(gate, *values)
    free = [
        Operator(op.name, op.kind, op.inputs, op.output, op.attributes) for op in made.operators
    ]
    graph = graph_of(free, [values[0], *made.values, values[1]], dict(made.constants))
    assert_int8_files_agree(graph, np.random.default_rng(0))
    codes = np.arange(-128, 128)
    count = float(source.scale) * made.constants["gate.weight"].scale[0]  # type: ignore[index]
    bias = np.rint(0.5 / count)
    assert abs(bias) < 2**31
    real = np.clip(((codes - zero_point) * float(source.scale) + 3) / 6, 0, 1)
    weight = int(made.constants["gate.weight"].data.flat[0])
    integers = np.clip(((codes - zero_point) * weight + bias) * count, 0, 1)
    assert np.abs(integers - real).max() * 255 < 0.01  # a hundredth of an output code


@pytest.mark.parametrize("kind", ["HardSigmoid", "HardSwish"])
def test_float_gates(kind: str) -> None:
    shape = (1, 6, *SIZE)
    attributes: dict[str, Any] = {"alpha": 1 / 6, "beta": 0.5} if kind == "HardSigmoid" else {}
    graph = graph_of(
        [Operator("gate", kind, ("x",), "y", attributes)],
        [Value("x", shape), Value("y", shape)],
        {},
    )
    assert_float_files_agree(graph, np.random.default_rng(0))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.sampled_from([(2, 3, 2), (4, 2, 5), (3, 4, 4)]), st.booleans(), seeds)
def test_grouped_convolutions(grouping: tuple[int, int, int], int8: bool, seed: int) -> None:
    groups, inputs, outputs = grouping
    rng = np.random.default_rng(seed)
    window = {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1] * 4, "dilations": [1, 1]}
    check(
        [Operator("conv", "Conv", ("x", "w", "b"), "y", {**window, "group": groups})],
        [
            ("x", (1, groups * inputs, *SIZE), scale(rng, 0.01, 0.05)),
            ("y", (1, groups * outputs, 4, 5), scale(rng, 0.05, 0.3)),
        ],
        layer(rng, (groups * outputs, inputs, 3, 3), int8=int8),
        int8=int8,
        seed=seed,
    )


def test_padding_that_is_not_counted_has_no_integer_form() -> None:
    q = Quantization(np.float32(0.1), 0)
    values = {"x": Value("x", (1, 2, 5, 5), q), "y": Value("y", (1, 2, 5, 5), q)}
    for counted in (False, True):
        window = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4}
        pool = Operator(
            "pool", "AveragePool", ("x",), "y", {**window, "count_include_pad": int(counted)}
        )
        assert is_integer(pool, values, {}) == counted
