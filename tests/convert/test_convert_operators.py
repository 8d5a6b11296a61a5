"""Single operators of every geometry, written for both runtimes and run there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from convert_fixtures import run_onnx, run_tflite
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.graph.graph import (
    Constant,
    Graph,
    Operator,
    Quantization,
    Value,
    integer_bias,
)

Array = npt.NDArray[Any]
CLAMPS: list[tuple[float, float] | None] = [None, (0.0, math.inf), (0.0, 6.0), (-1.0, 1.0)]

geometries = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(6, 13), st.integers(6, 13)),
        "kernel": st.tuples(st.integers(1, 5), st.integers(1, 5)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "pad": st.tuples(*[st.integers(0, 2)] * 4),
    }
)
seeds = st.integers(0, 2**32 - 1)


def window(geometry: dict[str, Any], dilation: int = 1) -> tuple[dict[str, Any], tuple[int, int]]:
    """ONNX attributes, and the output size; padding is less than the kernel."""
    kernel, size = geometry["kernel"], geometry["size"]
    pads = [min(p, k - 1) for p, k in zip(geometry["pad"], (*kernel, *kernel), strict=True)]
    attributes = {
        "kernel_shape": list(kernel),
        "strides": list(geometry["stride"]),
        "pads": pads,
        "dilations": [dilation, dilation],
    }
    height, width = (
        (size[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilation - 1) // geometry["stride"][i]
        + 1
        for i in (0, 1)
    )
    return attributes, (height, width)


def graph_of(
    operators: list[Operator], values: list[Value], constants: dict[str, Constant]
) -> Graph:
    return Graph(
        (values[0].name,),
        (values[-1].name,),
        tuple(operators),
        {v.name: v for v in values},
        constants,
    )


def nhwc(x: Array) -> Array:
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def nchw(x: Array) -> Array:
    return np.moveaxis(x, -1, 1) if x.ndim == 4 else x


def assert_float_files_agree(graph: Graph, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, *graph.values[graph.inputs[0]].shape[1:])).astype(np.float32)
    expected = run_onnx(write_onnx(graph), x)
    found = nchw(run_tflite(write_tflite(graph), nhwc(x)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def assert_int8_files_agree(graph: Graph, rng: np.random.Generator, *, exact: bool = True) -> None:
    x = rng.integers(-128, 128, (3, *graph.values[graph.inputs[0]].shape[1:])).astype(np.int8)
    signed = run_onnx(write_onnx(graph), x).astype(np.int32)
    unsigned = run_onnx(
        write_onnx(graph, unsigned=True), (x.astype(np.int16) + 128).astype(np.uint8)
    )
    np.testing.assert_array_equal(signed, unsigned.astype(np.int32) - 128)
    found = nchw(run_tflite(write_tflite(graph), nhwc(x))).astype(np.int32)
    if exact:
        np.testing.assert_array_equal(found, signed)
    else:
        assert np.abs(found - signed).max() <= 1
        assert np.mean(found != signed) <= 0.05


def layer(rng: np.random.Generator, shape: tuple[int, ...], *, int8: bool) -> dict[str, Constant]:
    """A weight and a bias."""
    bias = Constant(rng.normal(size=shape[0]).astype(np.float32))
    if not int8:
        return {"w": Constant(rng.normal(size=shape).astype(np.float32)), "b": bias}
    codes = rng.integers(-127, 128, shape).astype(np.int8)
    return {"w": Constant(codes, rng.uniform(0.001, 0.01, shape[0]).astype(np.float32)), "b": bias}


def scale(rng: np.random.Generator, low: float, high: float) -> Quantization:
    return Quantization(np.float32(rng.uniform(low, high)), int(rng.integers(-128, 20)))


@settings(max_examples=150, deadline=None)
@given(
    geometries,
    st.sampled_from(["dense", "depthwise", "doubled depthwise"]),
    st.sampled_from(CLAMPS),
    st.booleans(),
    st.integers(1, 2),
    seeds,
)
def test_convolutions(
    geometry: dict[str, Any],
    kind: str,
    clamp: tuple[float, float] | None,
    int8: bool,
    dilation: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    if dilation > 1:
        geometry = {**geometry, "kernel": tuple(min(k, 3) for k in geometry["kernel"])}
    inputs = int(rng.integers(2, 9))
    outputs = {"dense": int(rng.integers(1, 12)), "depthwise": inputs}.get(kind, 2 * inputs)
    group = 1 if kind == "dense" else inputs
    attributes, size = window(geometry, dilation)
    constants = layer(rng, (outputs, inputs // group, *geometry["kernel"]), int8=int8)
    graph = graph_of(
        [Operator("conv", "Conv", ("x", "w", "b"), "y", {**attributes, "group": group}, clamp)],
        [
            Value("x", (1, inputs, *geometry["size"]), scale(rng, 0.01, 0.05) if int8 else None),
            Value("y", (1, outputs, *size), scale(rng, 0.05, 0.3) if int8 else None),
        ],
        constants,
    )
    (assert_int8_files_agree if int8 else assert_float_files_agree)(graph, rng)


@settings(max_examples=40, deadline=None)
@given(
    geometries,
    st.sampled_from(["MaxPool", "AveragePool"]),
    st.sampled_from(CLAMPS),
    st.booleans(),
    seeds,
)
def test_pools(
    geometry: dict[str, Any],
    kind: str,
    clamp: tuple[float, float] | None,
    int8: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    if kind == "AveragePool":  # int8 ones are convolutions by the time they are written
        int8 = False
    attributes, size = window(geometry)
    if kind == "AveragePool":
        del attributes["dilations"]
        attributes["count_include_pad"] = 1
    quantization = scale(rng, 0.01, 0.05) if int8 else None
    graph = graph_of(
        [Operator("pool", kind, ("x",), "y", attributes, clamp)],
        [
            Value("x", (1, 5, *geometry["size"]), quantization),
            Value("y", (1, 5, *size), quantization),
        ],
        {},
    )
    (assert_int8_files_agree if int8 else assert_float_files_agree)(graph, rng)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans(), seeds)
def test_global_averages(height: int, width: int, keep: bool, int8: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = Quantization(np.float32(rng.uniform(0.01, 0.05)), -128)  # behind a ReLU
    target = Quantization(source.scale * np.float32(rng.uniform(0.3, 1.0)), -128)
    shape = (1, 16, 1, 1) if keep else (1, 16)
    graph = graph_of(
        [Operator("mean", "GlobalAveragePool", ("x",), "y")],
        [
            Value("x", (1, 16, height, width), source if int8 else None),
            Value("y", shape, target if int8 else None),
        ],
        {},
    )
    if int8:
        # The runtimes multiply in another order, so about 1 in 10^5 averages that lie half way
        # between codes up to the precision of float32 are rounded differently.
        assert_int8_files_agree(graph, rng, exact=False)
    else:
        assert_float_files_agree(graph, rng)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from(CLAMPS), st.booleans(), seeds)
def test_linear_layers_behind_flattened_maps(
    height: int, width: int, clamp: tuple[float, float] | None, int8: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    source = scale(rng, 0.01, 0.05) if int8 else None
    target = scale(rng, 0.05, 0.3) if int8 else None
    count = 6 * height * width
    graph = graph_of(
        [
            Operator("flatten", "Flatten", ("x",), "f"),
            Operator("linear", "Gemm", ("f", "w", "b"), "y", {"transB": 1}, clamp),
        ],
        [
            Value("x", (1, 6, height, width), source),
            Value("f", (1, count), source),
            Value("y", (1, 10), target),
        ],
        layer(rng, (10, count), int8=int8),
    )
    (assert_int8_files_agree if int8 else assert_float_files_agree)(graph, rng)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CLAMPS), st.booleans(), st.tuples(*[st.integers(40, 255)] * 3), seeds)
def test_additions(
    clamp: tuple[float, float] | None, int8: bool, multiples: tuple[int, int, int], seed: int
) -> None:
    """With scales that are odd multiples of one unit, as calibration chooses them."""
    rng = np.random.default_rng(seed)
    left, right, total = (
        Quantization(np.float32((2 * m + 1) * 2.0**-13), int(rng.integers(-128, 20)))
        for m in multiples
    )
    conv = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}
    graph = graph_of(
        [
            Operator("conv", "Conv", ("x", "w", "b"), "c", {**conv, "group": 1}),
            Operator("add", "Add", ("c", "x"), "y", clamp=clamp),
        ],
        [
            Value(name, (1, 4, 9, 9), q if int8 else None)
            for name, q in (("x", left), ("c", right), ("y", total))
        ],
        layer(rng, (4, 4, 1, 1), int8=int8),
    )
    (assert_int8_files_agree if int8 else assert_float_files_agree)(graph, rng)


@pytest.mark.parametrize("clamp", [*CLAMPS[1:], (0.0, 1.0), (-0.5, math.inf), (-math.inf, 2.5)])
@pytest.mark.parametrize("int8", [False, True])
def test_clamps_on_their_own(clamp: tuple[float, float], int8: bool) -> None:
    quantization = Quantization(np.float32(0.06), 3) if int8 else None
    graph = graph_of(
        [Operator("clip", "Clip", ("x",), "y", clamp=clamp)],
        [Value("x", (1, 3, 8, 8), quantization), Value("y", (1, 3, 8, 8), quantization)],
        {},
    )
    rng = np.random.default_rng(0)
    (assert_int8_files_agree if int8 else assert_float_files_agree)(graph, rng)


def test_a_bias_that_does_not_fit_int32_names_its_channel() -> None:
    operator = Operator("fc", "Gemm", ("x", "w", "b"), "y", {"transB": 1})
    quantization = Quantization(np.float32(1e-3), 0)
    graph = graph_of(
        [operator],
        [Value("x", (1, 2), quantization), Value("y", (1, 2), quantization)],
        {
            "w": Constant(np.ones((2, 2), np.int8), np.array([1e-3, 1e-8], np.float32)),
            "b": Constant(np.array([0.5, 0.5], np.float32)),
        },
    )
    with pytest.raises(InputError, match=r"^fc \(Gemm\): the bias of channel 1 \(0.5\) is too"):
        integer_bias(operator, graph)
