"""The pieces of a diff: order of numbers, sums over samples, bytes of tapped files."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from diff_fixtures import graph
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.taps.onnx_bytes import read_nodes, tap_onnx
from edgeticket.device_runner.taps.tflite_bytes import tap_tflite
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.diff.layout import find_order
from edgeticket.pipeline.diff.measures import Saturation, Tally
from edgeticket.pipeline.diff.values import to_codes, to_reals
from edgeticket.pipeline.graph.graph import Quantization

SIZES = st.integers(1, 5)


@given(SIZES, SIZES, SIZES, st.integers(0, 9))
def test_channels_last_is_undone_even_where_shapes_leave_it_open(
    c: int, h: int, w: int, seed: int
) -> None:
    maps = np.random.default_rng(seed).normal(size=(1, c, h, w))
    order = find_order(maps.transpose(0, 2, 3, 1), maps)
    assert order is not None
    np.testing.assert_array_equal(order(maps.transpose(0, 2, 3, 1)), maps)
    assert find_order(maps, maps) is not None  # as it is is known too


@given(SIZES, SIZES, SIZES)
def test_a_flattened_map_is_put_into_the_references_order(c: int, h: int, w: int) -> None:
    maps = np.random.default_rng(0).normal(size=(1, c, h, w))
    last = maps.transpose(0, 2, 3, 1).reshape(1, -1)
    order = find_order(last, maps.reshape(1, -1), maps=[(1, 2, 9, 9), maps.shape])
    assert order is not None
    np.testing.assert_array_equal(order(last), maps.reshape(1, -1))


def test_other_shapes_have_no_order() -> None:
    assert find_order(np.zeros((1, 4, 4, 3)), np.zeros((1, 3, 4, 5))) is None


def test_tallies_are_those_of_all_samples_at_once() -> None:
    rng = np.random.default_rng(1)
    q = Quantization(np.float32(0.5), -3)
    a, b = (rng.integers(-128, 128, (4, 50)) for _ in range(2))
    tally = Tally()
    for one, other in zip(a, b, strict=True):
        tally.add(one, other, q)
    found = tally.difference()
    assert found.max == np.abs(a - b).max()
    assert found.mean == pytest.approx(np.abs(a - b).mean())
    assert found.equal == (a == b).mean()
    left, right = (a + 3).ravel(), (b + 3).ravel()
    expected = left @ right / np.sqrt(float(left @ left) * float(right @ right))
    assert found.cosine == pytest.approx(expected)


def test_what_is_not_a_number_is_infinitely_wrong() -> None:
    tally = Tally()
    tally.add(np.ones(3), np.array([1, np.nan, 1]), None)
    found = tally.difference()
    assert (found.max, found.relative, found.cosine) == (np.inf, np.inf, 0.0)
    assert found.equal == pytest.approx(2 / 3)


def test_the_zero_of_a_relu_is_not_clipped() -> None:
    codes = np.array([-128, -128, 0, 127])
    for zero_point, share in ((-128, 0.25), (0, 0.75)):
        saturation = Saturation()
        saturation.add(codes, Quantization(np.float32(1), zero_point))
        assert saturation.share() == share


@given(st.integers(-128, 127), st.floats(2.0**-20, 1024, width=32))
def test_codes_survive_being_real(zero_point: int, scale: float) -> None:
    codes = np.arange(-128, 128)
    q = Quantization(np.float32(scale), zero_point)
    np.testing.assert_array_equal(to_codes(to_reals(codes, q), q), codes)


def test_a_tapped_onnx_file_is_the_file_and_more_outputs() -> None:
    data = write_onnx(graph("int8"), unsigned=True)
    tapped = onnx.load_model_from_string(tap_onnx(data, place="it"))
    before = onnx.load_model_from_string(data)
    names = [value.name for value in tapped.graph.output]
    values = [op.output for op in graph("int8").operators]
    assert names == ["output", *(name for name in values if name != "output")]
    del tapped.graph.output[1:]
    assert tapped == before
    assert [node.op_type for node in read_nodes(data, place="it")] == [
        node.op_type for node in before.graph.node
    ]


def test_long_names_and_many_values_are_appended_rightly() -> None:
    nodes = [
        helper.make_node("Relu", [f"{'v' * 200}{i}"], [f"{'v' * 200}{i + 1}"]) for i in range(90)
    ]
    x = helper.make_tensor_value_info("v" * 200 + "0", onnx.TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("v" * 200 + "90", onnx.TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]))
    tapped = onnx.load_model_from_string(tap_onnx(model.SerializeToString(), place="it"))
    assert len(tapped.graph.output) == 90


@pytest.mark.parametrize("tapping", [tap_onnx, tap_tflite])
def test_damaged_files_are_refused_in_a_sentence(tapping: object) -> None:
    data = (write_onnx if tapping is tap_onnx else write_tflite)(graph("int8"))
    rng = np.random.default_rng(0)
    assert callable(tapping)
    for cut in (0, 1, 7, len(data) // 2):
        with pytest.raises(InputError, match=r"it is no whole"):
            tapping(b"\xff" * 20 + data[:cut], place="it")
    for _ in range(300):  # either refused or tapped, and never anything else
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 8):
            broken[place] = rng.integers(0, 256)
        with contextlib.suppress(InputError):
            tapping(bytes(broken), place="it")
