"""Norms and attention in float32 between codes: the same bits in both runtimes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeticket.pipeline.convert.exact_sums import largest_power, make_exact
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.graph.graph import Constant, Graph, Operator, Quantization, Value

Array = npt.NDArray[Any]


def quantization(scale: float, zero_point: int = 0) -> Quantization:
    return Quantization(np.float32(scale), zero_point)


def in_onnx_runtime(graph: Graph, given: dict[str, Array]) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return np.asarray(onnxruntime.InferenceSession(write_onnx(graph), options).run(None, given)[0])


def in_litert(graph: Graph, given: dict[str, Array]) -> Array:
    interpreter = Interpreter(model_content=write_tflite(graph), num_threads=1)
    interpreter.allocate_tensors()
    for detail, x in zip(interpreter.get_input_details(), given.values(), strict=True):
        interpreter.set_tensor(detail["index"], np.moveaxis(x, 1, -1))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return np.moveaxis(found, -1, 1)


def norm(rows: Array, source: Quantization | None) -> tuple[Graph, dict[str, Array]]:
    """A layer norm of numbers or of codes, in a graph that has codes; [1, rows, size]."""
    size = rows.shape[-1]
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(1, 0.1, size), rng.normal(0, 0.1, size)
    values = [
        Value("x", rows.shape, source),
        Value("real", rows.shape),
        Value("codes", (1, 2), quantization(1.0)),
        Value("y", rows.shape),
    ]
    read = "x" if source is None else "real"
    steps = [
        Operator("y", "LayerNormalization", (read, "w", "b"), "y", {"axis": -1, "epsilon": 1e-5})
    ]
    if source is not None:
        steps.insert(0, Operator("real", "DequantizeLinear", ("x",), "real"))
    constants = {n: Constant(c.astype(np.float32)) for n, c in (("w", weight), ("b", bias))}
    graph = Graph(("x",), ("y",), tuple(steps), {v.name: v for v in values}, constants)
    return graph, {"x": rows}


def exact_norm(graph: Graph, x: Array) -> Array:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    normal = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5)
    return normal * graph.constants["w"].data + graph.constants["b"].data


@pytest.mark.parametrize("size", [16, 192, 768, 4096])
@pytest.mark.parametrize("mean", [0.0, 10.0])
def test_layer_norm_of_numbers(size: int, mean: float) -> None:
    rows = np.random.default_rng(0).normal(mean, 1, (1, 40, size)).astype(np.float32)
    rows[0, 0], rows[0, 1], rows[0, 2, 0] = 0, mean + 1, 300  # equal numbers; one that is large
    plain, given = norm(rows, None)
    graph = make_exact(plain)
    found = in_onnx_runtime(graph, given)
    np.testing.assert_array_equal(found, in_litert(graph, given))
    # A code of ±4 is 0.03.
    assert np.abs(found - exact_norm(plain, rows))[0, 3:].max() < 0.006 * (1 + mean)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0, :2], np.tile(plain.constants["b"].data, (2, 1)), atol=1e-3)


@pytest.mark.parametrize("zero_point", [0, -100])
def test_layer_norm_of_codes(zero_point: int) -> None:
    rows = np.random.default_rng(0).integers(-128, 128, (1, 40, 192)).astype(np.int8)
    rows[0, 0], rows[0, 1] = 127, zero_point
    source = quantization(0.0371, zero_point)
    plain, given = norm(rows, source)
    graph = make_exact(plain)
    found = in_onnx_runtime(graph, given)
    np.testing.assert_array_equal(found, in_litert(graph, given))
    reals = (rows.astype(np.float64) - zero_point) * source.scale
    assert np.abs(found - exact_norm(plain, reals))[0, 2:].max() < 1e-5
    assert np.isfinite(found).all()


def attention(tokens: int, masked: Array | None) -> tuple[Graph, dict[str, Array]]:
    """softmax(q · k / √16 + mask) · v of two heads."""
    shape, turned, square = (1, 2, tokens, 16), (1, 2, 16, tokens), (1, 2, tokens, tokens)
    q, k, v = quantization(0.03), quantization(0.0213, 7), quantization(0.0117, -20)
    values = [
        *(Value(n, s, x) for n, s, x in (("q", shape, q), ("k", turned, k), ("v", shape, v))),
        *(Value(f"{n}.real", s) for n, s in (("q", shape), ("k", turned), ("v", shape))),
        Value("scaled", shape),
        *(Value(n, square) for n in ("scores", "masked", "shares")),
        Value("y", shape),
    ]
    mask = np.zeros((tokens, tokens), np.float32) if masked is None else masked
    steps = [
        *(Operator(f"{n}.real", "DequantizeLinear", (n,), f"{n}.real") for n in "qkv"),
        Operator("scaled", "Mul", ("q.real", "factor"), "scaled"),
        Operator("scores", "MatMul", ("scaled", "k.real"), "scores"),
        Operator("masked", "Add", ("scores", "mask"), "masked"),
        Operator("shares", "Softmax", ("masked",), "shares", {"axis": -1}),
        Operator("y", "MatMul", ("shares", "v.real"), "y"),
    ]
    constants = {"factor": Constant(np.float32(0.25).reshape(())), "mask": Constant(mask)}
    graph = Graph(("q", "k", "v"), ("y",), tuple(steps), {x.name: x for x in values}, constants)
    rng = np.random.default_rng(0)
    given = {
        n: np.clip(rng.normal(0, 50, s), -128, 127).astype(np.int8)
        for n, s in (("q", shape), ("k", turned), ("v", shape))
    }
    return graph, given


def exact_attention(graph: Graph, given: dict[str, Array]) -> Array:
    def real(name: str) -> Array:
        found = graph.values[name].quantization
        assert found is not None
        return (given[name].astype(np.float64) - found.zero_point) * float(found.scale)

    scores = real("q") @ real("k") / 4 + graph.constants["mask"].data
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Array = powers / powers.sum(-1, keepdims=True)
    return np.asarray(shares @ real("v"))


def causal(tokens: int) -> Array:
    return np.triu(np.full((tokens, tokens), -1e9, np.float32), 1)


@pytest.mark.parametrize(
    ("tokens", "mask"), [(16, None), (50, causal(50)), (197, None), (700, None)]
)
def test_attention(tokens: int, mask: Array | None) -> None:
    plain, given = attention(tokens, mask)
    graph = make_exact(plain)
    assert "Softmax" not in {op.kind for op in graph.operators}
    found = in_onnx_runtime(graph, given)
    np.testing.assert_array_equal(found, in_litert(graph, given))
    expected = exact_attention(plain, given)
    code = (expected.max() - expected.min()) / 255
    assert np.sqrt(np.square(found - expected).mean()) < code / 20
    # Else the test could not fail.
    assert (in_onnx_runtime(plain, given) != in_litert(plain, given)).any()


@pytest.mark.parametrize("tokens", [2, 16, 21, 1000, 5000])
@pytest.mark.parametrize("scale", [1 / 256, 0.0003149])
def test_shares_that_become_codes(tokens: int, scale: float) -> None:
    logits, shares = quantization(0.031, 5), quantization(scale, -128)
    shape = (1, 7, tokens)
    values = [
        *(Value("x", shape, logits), Value("x.real", shape), Value("shares", shape)),
        Value("y", shape, shares),
    ]
    steps = (
        Operator("x.real", "DequantizeLinear", ("x",), "x.real"),
        Operator("shares", "Softmax", ("x.real",), "shares", {"axis": -1}),
        Operator("y", "QuantizeLinear", ("shares",), "y"),
    )
    plain = Graph(("x",), ("y",), steps, {v.name: v for v in values}, {})
    codes = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    codes[0, 0], codes[0, 1, 1:] = 3, -128  # all alike; one that has nearly all
    graph = make_exact(plain)
    found = in_onnx_runtime(graph, {"x": codes})
    np.testing.assert_array_equal(found, in_litert(graph, {"x": codes}))
    powers = np.exp((codes.astype(np.float64) - 5) * 0.031)
    exact = powers / powers.sum(-1, keepdims=True)
    # Logits are rounded to 1/512, and powers to parts of the largest, which is nearly 4096.
    total = 4000 / exact.max(-1, keepdims=True)
    allowed = exact * (1 - exact) / 512 + 0.5 * (1 + tokens * exact) / total
    apart = np.abs(found - np.clip(exact / scale - 128, -128, 127))
    assert (apart <= 0.501 + allowed / scale).all()
    assert len(np.unique(found)) > 1


def test_more_tokens_than_can_be_summed_stay() -> None:
    plain, _ = attention(4000, None)
    assert "Softmax" in {op.kind for op in make_exact(plain).operators}


def test_shares_that_something_else_reads_stay() -> None:
    plain, _ = attention(16, None)
    graph = make_exact(replace(plain, outputs=("y", "shares")))
    assert "Softmax" in {op.kind for op in graph.operators}


@pytest.mark.parametrize("value", [1.0, -3.7])
def test_a_product_with_columns_of_one_number(value: float) -> None:
    sides = {"before": [0, 0, 0, 1], "after": [0, 0, 0, 2], "mode": "constant", "value": value}
    values = [
        Value("k", (1, 2, 16, 64), quantization(0.0213, 7)),
        Value("v", (1, 2, 64, 16), quantization(0.00117, -20)),
        Value("k.real", (1, 2, 16, 64)),
        Value("v.real", (1, 2, 64, 16)),
        Value("padded", (1, 2, 64, 19)),
        Value("y", (1, 2, 16, 19)),
    ]
    steps = [
        *(Operator(f"{n}.real", "DequantizeLinear", (n,), f"{n}.real") for n in "kv"),
        Operator("padded", "PadNumber", ("v.real",), "padded", sides),
        Operator("y", "MatMul", ("k.real", "padded"), "y"),
    ]
    plain = Graph(("k", "v"), ("y",), tuple(steps), {x.name: x for x in values}, {})
    rng = np.random.default_rng(0)
    given = {n: rng.integers(-128, 128, plain.values[n].shape).astype(np.int8) for n in "kv"}
    found = in_onnx_runtime(make_exact(plain), given)
    np.testing.assert_array_equal(found, in_litert(make_exact(plain), given))
    keys, rows = (given[n].astype(np.int64) - z for n, z in (("k", 7), ("v", -20)))
    columns = np.pad(rows, [(0, 0), (0, 0), (0, 0), (1, 2)], constant_values=1)
    factors = np.float32(0.0213) * np.array([value, *[0.00117] * 16, value, value])
    # Whole numbers, and one rounding at the end.
    np.testing.assert_allclose(found, keys @ columns * factors, rtol=2e-7)


@pytest.mark.parametrize("limit", [4096.0, 2600.0, 700.0, 41.0])
def test_no_power_is_near_to_half_way(limit: float) -> None:
    largest = largest_power(limit)
    assert 0.75 * limit <= largest <= limit
    powers = largest * np.exp(-np.arange(12 * 512) / 512)
    low, high = np.rint(powers * (1 - 6e-7)), np.rint(powers * (1 + 6e-7))
    np.testing.assert_array_equal(low, high)


def test_a_graph_in_float32_stays() -> None:
    plain, _ = norm(np.zeros((1, 2, 16), np.float32), None)
    values = {n: replace(v, quantization=None) for n, v in plain.values.items()}
    graph = replace(plain, values=values)
    assert make_exact(graph) is graph


def test_what_is_written_as_it_stands_stays() -> None:
    graph, _ = attention(16, None)
    steps = [op for op in graph.operators if op.kind != "DequantizeLinear"]
    steps = [replace(op, inputs=tuple(n.removesuffix(".real") for n in op.inputs)) for op in steps]
    graph = replace(graph, operators=tuple(steps))
    for verbatim in (False, True):
        ready = prepare(replace(graph, verbatim=verbatim))
        assert ("Softmax" in {op.kind for op in ready.operators}) == verbatim
