"""The file for TensorRT: a test for each rule of its placement, and what it computes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
import torch.nn.functional as F
from convert_fixtures import run_onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType
from qdq_fixtures import quantise
from test_convert_kinds import MAP, float_file
from test_convert_qdq import Sketch
from torch import Tensor, nn

import edgeticket
from edgeticket.pipeline.convert.foreign import read_any
from edgeticket.pipeline.convert.targets import TARGETS, targets_of
from edgeticket.pipeline.convert.tensorrt import place_explicitly, symmetric
from edgeticket.pipeline.graph.fold import fold
from edgeticket.pipeline.graph.graph import Graph, Quantization
from edgeticket.pipeline.operators import KINDS

Array = npt.NDArray[Any]
SHAPE = (3, 12, 12)


class Network(nn.Module):
    """Residual blocks with and without a layer beside them, SiLU, a gate, a join, pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.side, self.main = nn.Conv2d(8, 12, 1), nn.Conv2d(8, 12, 3, padding=1)
        self.silu, self.depth = nn.Conv2d(12, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.squeeze = nn.Conv2d(12, 12, 1)
        self.left, self.right = nn.Conv2d(12, 6, 1), nn.Conv2d(12, 6, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.two(F.relu(self.one(x))) + x)
        x = F.max_pool2d(x, 2)
        x = F.relu(self.main(x) + self.side(x))
        x = self.depth(F.silu(self.silu(x)))
        x = x * torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        x = torch.cat([self.left(x), self.right(x)], 1)
        logits: Tensor = self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return logits


@functools.cache
def quantized() -> tuple[nn.Module, edgeticket.Quantized]:
    torch.manual_seed(1)
    network = Network().eval()
    return network, edgeticket.quantize(network, inputs(64, seed=1))


def inputs(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float32)


class File:
    """What a test asks of nodes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.graph = data, onnx.load_from_string(data).graph
        self.stored = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output}

    def kind(self, name: str) -> str:
        """Of the operator that makes a value; "" of a stored one, or an input."""
        return self.makers[name].op_type if name in self.makers else ""

    def of(self, *kinds: str) -> Iterator[onnx.NodeProto]:
        return (node for node in self.graph.node if node.op_type in kinds)

    def readers(self, name: str) -> list[str]:
        return [node.op_type for node in self.graph.node if name in node.input]


@functools.cache
def own() -> File:
    return File(TARGETS["onnx-int8-trt"].convert(quantized()[1].graph).data)


@functools.cache
def foreign() -> File:
    """Of a file with codes that are uint8."""
    data = quantise(float_file("residual"), MAP, QuantType.QUInt8, QuantType.QInt8)
    graph = fold(read_any(data, place="model.onnx"))
    return File(TARGETS["onnx-int8-trt"].convert(graph).data)


@pytest.fixture(params=[own, foreign])
def file(request: pytest.FixtureRequest) -> File:
    found: File = request.param()
    return found


def test_codes_are_int8_with_zero_points_of_0(file: File) -> None:
    for node in file.of("QuantizeLinear", "DequantizeLinear"):
        scale, zeros = file.stored[node.input[1]], file.stored[node.input[2]]
        assert zeros.dtype == np.int8
        assert not zeros.any()
        assert scale.dtype == np.float32
        assert (scale > 0).all()


def test_weights_have_a_scale_for_each_output_channel_and_codes_up_to_127(file: File) -> None:
    layers = list(file.of("Conv", "Gemm"))
    assert layers
    for layer in layers:
        dequantize = file.makers[layer.input[1]]
        assert dequantize.op_type == "DequantizeLinear"
        rounding = file.makers[dequantize.input[0]]
        assert rounding.op_type == "QuantizeLinear"
        assert list(rounding.input[1:]) == list(dequantize.input[1:])
        assert {a.i for n in (rounding, dequantize) for a in n.attribute} == {0}
        numbers, scale = file.stored[rounding.input[0]], file.stored[rounding.input[1]]
        assert numbers.dtype == np.float32
        assert scale.shape == (len(numbers),)
        codes = np.rint(numbers / scale.reshape(-1, *[1] * (numbers.ndim - 1)))
        assert np.abs(codes).max() <= 127


def test_what_a_layer_reads_is_rounded_with_one_scale(file: File) -> None:
    for layer in file.of("Conv", "Gemm"):
        name = layer.input[0]
        while file.kind(name) in ("Flatten", "Reshape"):
            name = file.makers[name].input[0]
        dequantize = file.makers[name]
        assert dequantize.op_type == "DequantizeLinear"
        assert file.stored[dequantize.input[1]].shape == ()
        assert file.kind(dequantize.input[0]) == "QuantizeLinear"


def test_biases_are_float32(file: File) -> None:
    for layer in file.of("Conv", "Gemm"):
        if len(layer.input) > 2:
            assert file.stored[layer.input[2]].dtype == np.float32
    assert not any(array.dtype == np.int32 for array in file.stored.values())


def test_a_layer_an_addition_and_a_relu_fuse(file: File) -> None:
    additions = list(file.of("Add"))
    assert additions
    for node in additions:
        assert sorted(map(file.kind, node.input)) == ["Conv", "DequantizeLinear"]
        (layer,) = (name for name in node.input if file.kind(name) == "Conv")
        assert file.readers(layer) == ["Add"]
        assert file.readers(node.output[0]) == ["Relu"]


def test_of_two_layers_the_later_is_not_rounded_before_they_are_added() -> None:
    file = own()
    node = list(file.of("Add"))[-1]
    order = [n.output[0] for n in file.graph.node]
    (layer,) = (name for name in node.input if file.kind(name) == "Conv")
    (other,) = (name for name in node.input if name != layer)
    rounding = file.makers[file.makers[other].input[0]]
    assert file.kind(rounding.input[0]) == "Conv"
    assert order.index(rounding.input[0]) < order.index(layer)


def test_functions_and_moves_have_no_rounding_before_them() -> None:
    kinds = ("Sigmoid", "Mul", "Concat", "Relu", "MaxPool", "Flatten")
    nodes = list(own().of(*kinds))
    assert {node.op_type for node in nodes} == set(kinds)
    for node in nodes:
        assert not any(own().kind(name) == "DequantizeLinear" for name in node.input), node


def test_a_value_is_rounded_once(file: File) -> None:
    rounded = [node.input[0] for node in file.of("QuantizeLinear") if node.input[0] in file.makers]
    assert len(rounded) == len(set(rounded))


def test_averages_are_rounded_where_their_readers_are() -> None:
    pools = list(own().of("GlobalAveragePool"))
    assert len(pools) == 2
    assert {own().kind(node.input[0]) for node in pools} == {"DequantizeLinear"}


def test_the_ends_are_float32(file: File) -> None:
    for value in (*file.graph.input, *file.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    (last,) = file.graph.output
    assert file.kind(last.name) in ("Gemm", "Conv")


def test_saturation_that_was_a_relu_is_written_as_one() -> None:
    s = Sketch()
    conv = s.op("Conv", s.rounded("x", 0.03, 0), s.weight(8, 4, 3, 3))
    positive = s.rounded(conv, 0.004, 0, "uint8")  # what is below 0 becomes 0
    data = s.file(s.op("Conv", positive, s.weight(8, 8, 1, 1)))
    made = TARGETS["onnx-int8-trt"].convert(read_any(data, place="model.onnx")).data
    (relu,) = File(made).of("Relu")
    assert File(made).kind(relu.input[0]) == "Conv"
    x = np.random.default_rng(0).normal(size=(10, 4, 8, 8)).astype(np.float32)
    found, expected = run_onnx(made, x, as_written=True), run_onnx(data, x, as_written=True)
    assert np.square(found - expected).mean() < 1e-3 * np.square(expected).mean()


def fake_quantised(graph: Graph, x: Tensor) -> Tensor:
    """What a graph with Q/DQ says, computed in torch."""
    values = {graph.inputs[0]: x}

    def operand(name: str) -> Tensor:
        if name in values:
            return values[name]
        constant = graph.constants[name]
        data = torch.from_numpy(constant.data)
        if constant.scale is None:
            return data
        return data * torch.from_numpy(constant.scale).reshape(-1, *[1] * (data.ndim - 1))

    for op in graph.operators:
        sources = [operand(name) if name else None for name in op.inputs]
        if op.kind == "QuantizeLinear":
            q = graph.values[op.output].quantization
            assert q is not None
            y = torch.clamp(torch.round(sources[0] / torch.tensor(q.scale)), -128, 127)
        elif op.kind == "DequantizeLinear":
            q = graph.values[op.inputs[0]].quantization
            assert q is not None
            y = sources[0] * torch.tensor(q.scale)
        elif op.kind == "Conv":
            strides, pads, dilations, group = (
                op.attributes[key] for key in ("strides", "pads", "dilations", "group")
            )
            y = F.conv2d(*sources, strides, pads[:2], dilations, group)
        elif op.kind == "Gemm":
            y = F.linear(*sources)
        elif op.kind == "Clip":
            y = sources[0]
        else:
            meaning = KINDS[op.kind].meaning
            assert meaning is not None
            y = meaning(torch, op.attributes, *sources)
        values[op.output] = y if op.clamp is None else torch.clamp(y, *op.clamp)
    return values[graph.outputs[0]]


def test_onnxruntime_computes_what_fake_quantisation_says() -> None:
    placed = place_explicitly(quantized()[1].graph)
    x = inputs(20)
    expected = torch.cat([fake_quantised(placed, torch.from_numpy(one[None])) for one in x])
    for as_written in (True, False):
        found = run_onnx(own().data, x, as_written=as_written)
        difference = np.abs(found - expected.numpy()) / np.abs(expected.numpy()).max()
        # A number half way between codes may fall to the other one.
        assert np.mean(difference < 1e-4) > 0.9
        assert difference.max() < 0.02


def test_little_is_lost_against_float32() -> None:
    network, done = quantized()
    x = inputs(50)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()

    def noise_db(found: Array) -> float:
        return float(10 * np.log10(np.square(expected).sum() / np.square(found - expected).sum()))

    placed = noise_db(run_onnx(own().data, x))
    other = TARGETS["onnx-int8-s8"].convert(done.graph)
    scale, zero = other.input.scale, other.input.zero_point
    codes = np.clip(np.rint(x / np.float32(scale)) + np.float32(zero), -128, 127).astype(np.int8)
    output = run_onnx(other.data, codes).astype(np.float32) - np.float32(other.output.zero_point)
    assert placed > noise_db(output * np.float32(other.output.scale)) - 3


@given(st.floats(1e-6, 1e3), st.integers(-128, 127))
def test_a_symmetric_scale_reaches_as_far(scale: float, zero_point: int) -> None:
    given_scale = Quantization(np.float32(scale), zero_point)
    made = symmetric(given_scale)
    assert made.zero_point == 0
    low, high = (float(given_scale.scale) * (code - zero_point) for code in (-128, 127))
    reach = float(made.scale) * np.array([-128, 127])
    assert reach[0] <= low * (1 - 1e-6)
    assert reach[1] >= high * (1 - 1e-6)
    assert np.isclose(reach[0], low) or np.isclose(reach[1], high)


def test_it_is_made_only_where_it_is_asked_for() -> None:
    assert "onnx-int8-trt" not in targets_of("int8")
    assert "onnx-int8-trt" in targets_of("int8", also=["onnx-int8-trt"])
    assert "onnx-int8-trt" not in edgeticket.convert(quantized()[1].graph)
    asked = edgeticket.convert(quantized()[1].graph, kinds=["onnx-int8-trt"])
    assert asked["onnx-int8-trt"].data == own().data
