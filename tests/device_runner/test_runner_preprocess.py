"""Preprocessing against the arithmetic written out, and against onnxruntime's own quantiser."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.preprocess import preprocess, to_tensor

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NORMALIZE = {"op": "normalize", "mean": MEAN, "std": STD}


def spec(layout: str, dtype: str, scale: float | None, zero_point: int | None) -> TensorSpec:
    shapes = {"NCHW": (1, 3, 4, 5), "NHWC": (1, 4, 5, 3), "NCW": (1, 3, 5), "NWC": (1, 5, 3)}
    shape = {**shapes, "NC": (1, 60)}[layout]
    return TensorSpec("x", shape, dtype, layout, scale, zero_point)


def images(count: int = 3) -> Any:
    return np.random.default_rng(1).integers(0, 256, (count, 4, 5, 3)).astype(np.uint8)


def test_normalize_is_float32_arithmetic_per_channel() -> None:
    inputs = images()
    found = preprocess(inputs, [NORMALIZE])
    assert found.dtype == np.float32
    for channel in range(3):
        x = inputs[..., channel].astype(np.float32)
        expected = (x - np.float32(MEAN[channel])) / np.float32(STD[channel])
        assert found[..., channel].tobytes() == expected.tobytes()


def test_one_sample_at_a_time_gives_the_same_bits() -> None:
    inputs = images(5)
    whole = preprocess(inputs, [NORMALIZE, NORMALIZE])
    single = [preprocess(inputs[i : i + 1], [NORMALIZE, NORMALIZE]) for i in range(5)]
    assert whole.tobytes() == np.concatenate(single).tobytes()


def test_no_steps_give_the_pixels_and_leave_the_input_alone() -> None:
    inputs = images()
    before = inputs.copy()
    np.testing.assert_array_equal(preprocess(inputs, []), inputs.astype(np.float32))
    preprocess(inputs, [NORMALIZE])
    np.testing.assert_array_equal(inputs, before)


def test_layouts() -> None:
    values = preprocess(images(), [])
    for layout, expected in (
        ("NCHW", values.transpose(0, 3, 1, 2)),
        ("NHWC", values),
        ("NC", values.reshape(3, 60)),
        ("NCW", values[:, 0].transpose(0, 2, 1)),
        ("NWC", values[:, 0]),
    ):
        samples = values[:, 0] if "W" in layout and "H" not in layout else values
        found = to_tensor(samples, spec(layout, "float32", None, None))
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected)


def onnx_quantize(values: Any, scale: float, zero_point: Any) -> Any:
    """What QuantizeLinear of onnxruntime makes of float32 values [N]."""
    kind = helper.np_dtype_to_tensor_dtype(zero_point.dtype)
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        "quantize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", kind, [None])],
        [
            numpy_helper.from_array(np.asarray(scale, np.float32), "s"),
            numpy_helper.from_array(np.asarray(zero_point), "z"),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": values})[0]


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["int8", "uint8"]),
    scale=st.floats(1e-4, 10),
    shift=st.integers(0, 255),
    seed=st.integers(0, 2**32 - 1),
)
def test_codes_are_those_of_onnx_quantize_linear(
    dtype: str, scale: float, shift: int, seed: int
) -> None:
    zero_point = np.dtype(dtype).type(shift if dtype == "uint8" else shift - 128)
    rng = np.random.default_rng(seed)
    steps = rng.integers(-300, 300, 60) / 2  # half of them exactly between two codes
    values = (steps * np.float32(scale)).astype(np.float32)
    values[::3] = rng.normal(0, 100 * scale, 20).astype(np.float32)
    found = to_tensor(values.reshape(1, 4, 5, 3), spec("NHWC", dtype, scale, int(zero_point)))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found.ravel(), onnx_quantize(values, scale, zero_point))


@pytest.mark.parametrize(("dtype", "codes"), [("int8", [-128, -2, 0, 2, 2, 127])])
def test_ties_go_to_even_and_ends_saturate(dtype: str, codes: list[int]) -> None:
    values = np.array([-1e9, -1.25, 0.25, 0.75, 1.25, 1e9] * 10, np.float32).reshape(1, 4, 5, 3)
    found = to_tensor(values, spec("NHWC", dtype, 0.5, 0))
    assert found.ravel()[:6].tolist() == codes


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_smallest_and_largest_scale_saturate_without_a_warning(scale: float) -> None:
    steps = [{"op": "normalize", "mean": [1e6] * 3, "std": [1e-6] * 3}]
    found = to_tensor(preprocess(images(), steps), spec("NCHW", "uint8", scale, 7))
    assert set(found.ravel().tolist()) == ({0} if scale < 1 else {7})


@pytest.mark.parametrize(
    ("inputs", "steps", "sentence"),
    [
        (images().astype(np.int16), [], r"int16 \[3, 4, 5, 3\]: they must be uint8 or float32"),
        (images()[0, 0, 0], [], "they must be uint8"),
        (
            images(),
            [{"op": "crop"}],
            "unknown op 'crop' .known: center_crop, grey",
        ),
        (images()[..., :1], [NORMALIZE], "3 mean and 3 std, the samples have 1 channels"),
    ],
)
def test_what_does_not_fit_is_refused(inputs: Any, steps: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        preprocess(inputs, steps)


def test_another_shape_than_the_models_is_refused() -> None:
    values = preprocess(images()[:, :3], [])
    with pytest.raises(
        InputError, match=r"a: samples give shape \[3, 3, 5\], .* \[3, 4, 5\] \(NCHW\)"
    ):
        to_tensor(values, spec("NCHW", "float32", None, None), place="a")
