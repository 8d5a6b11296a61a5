"""Networks of all kinds that others quantised: gates, scales, attention, recurrence, and NNCF's."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from onnxruntime.quantization import QuantType
from qdq_fixtures import convert, equal_share, examples, exported, ort, quantise, tflite
from test_convert_qdq import Sketch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.foreign import domains, read_any
from edgeticket.pipeline.graph.fold import fold

MAP = (3, 12, 12)


class Kind(nn.Module):
    """A convolution, what is tried, and a convolution that makes the output."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.slopes = nn.PReLU(8)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.last(self.middle(self.first(x)))
        return last

    def middle(self, x: Tensor) -> Tensor:
        match self.kind:
            case "residual":
                return F.relu(self.gate(F.relu(x)) + x)
            case "depthwise":
                return F.relu6(self.depth(F.relu6(x)))
            case "concat":
                return torch.cat([F.relu(x[:, :4]), self.gate(x)[:, 4:]], 1)
            case "silu":
                return F.silu(self.depth(F.silu(x)))
            case "hardswish":
                return F.hardswish(self.depth(F.hardswish(x)))
            case "squeeze and excite":
                return x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
            case "nearest":
                return F.interpolate(F.relu(x), scale_factor=2.0) + self.up(x)
            case "transposed":
                return F.relu(self.up(F.relu(x)))
            case "leaky":
                # A tenth of 5 codes would lie between two of them, where runtimes part.
                return F.leaky_relu(self.gate(F.leaky_relu(x, 0.0973)), 0.0973)
            case "prelu":
                slopes: Tensor = self.slopes(x)
                return slopes
            case "norm":
                return F.relu(self.norm(F.relu(x)))
            case "tanh":
                return torch.tanh(self.gate(torch.tanh(x)))
            case "shuffle":
                return F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)
            case "pools":
                return F.max_pool2d(x, 3, 1, 1) - F.avg_pool2d(x, 3, 1, 1)
        raise KeyError(self.kind)


KINDS = (
    *("residual", "depthwise", "concat", "silu", "hardswish", "squeeze and excite", "nearest"),
    *("transposed", "leaky", "prelu", "norm", "tanh", "shuffle", "pools"),
)
OPTIONS: dict[str, dict[str, Any]] = {
    "U8S8 per channel": {
        "activations": QuantType.QUInt8,
        "weights": QuantType.QInt8,
        "per_channel": True,
    },
    "S8S8 symmetric": {
        "activations": QuantType.QInt8,
        "weights": QuantType.QInt8,
        "options": {"ActivationSymmetric": True, "WeightSymmetric": True},
    },
}


@functools.cache
def float_file(kind: str) -> bytes:
    torch.manual_seed(3)
    module = Kind(kind).eval()
    for numbers in (module.norm.weight, module.slopes.weight):
        nn.init.uniform_(numbers, 0.1, 1.5)
    nn.init.uniform_(module.norm.running_var, 0.5, 1.5)
    return exported(module, MAP)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_maps_keep_their_codes(kind: str, options: str) -> None:
    data = quantise(float_file(kind), MAP, **OPTIONS[options])
    assert equal_share(data, MAP, 20) >= 0.999


class Attention(nn.Module):
    """Self-attention between linear layers; its products have no stored side."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys, self.values = (nn.Linear(8, 8) for _ in range(3))
        self.last = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        scores = self.queries(x) @ self.keys(x).transpose(1, 2) / 8**0.5
        mixed = torch.softmax(scores, -1) @ self.values(x)
        last: Tensor = self.last(mixed.mean(1))
        return last


class Recurrent(nn.Module):
    """An LSTM between quantised layers, which stays in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(8, 8, 3, padding=1), nn.Linear(8, 6)
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(F.relu(self.first(x)).transpose(1, 2))
        last: Tensor = self.last(x[:, -1])
        return last


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", [Attention, Recurrent])
def test_sequences_keep_their_codes(kind: type[nn.Module], options: str) -> None:
    torch.manual_seed(3)
    data = quantise(exported(kind().eval(), (8, 6)), (8, 6), **OPTIONS[options])
    # Its optimiser puts a table of Softmax in, which is off by up to a code.
    assert equal_share(data, (8, 6), 100, as_written=kind is Attention) >= 0.999


def like_nncf() -> bytes:
    """As NNCF writes it for ONNX (2.x, 3.x), by hand.

    Weights are int8 codes behind DequantizeLinear, activations uint8 behind a ReLU and symmetric
    int8 elsewhere, with a scale for each channel in front of depthwise layers; equal biases are one
    tensor behind Identity; no bias and no output is rounded.
    """
    s = Sketch(opset=17)
    bias = s.store(s.random.normal(size=8).astype(np.float32) * 0.1)
    again = s.op("Identity", bias)
    x = s.rounded("x", 0.03, 0)
    x = s.op("Relu", s.op("Conv", x, s.weight(8, 4, 3, 3, kind="channel"), bias, pads=[1] * 4))
    steps = s.store(np.linspace(0.004, 0.012, 8, dtype=np.float32))
    zeros = s.store(np.zeros(8, np.uint8))
    codes = s.op("QuantizeLinear", x, steps, zeros, axis=1)
    x = s.op("DequantizeLinear", codes, steps, zeros, axis=1)
    depth = s.op("Conv", x, s.weight(8, 1, 3, 3, kind="channel"), again, group=8, pads=[1] * 4)
    x = s.rounded(s.op("Relu", depth), 0.004, 0, "uint8")
    left = s.rounded(s.op("Conv", x, s.weight(8, 8, 1, 1, kind="channel"), bias), 0.006, 0)
    x = s.rounded(s.op("Relu", s.op("Add", left, x)), 0.005, 0, "uint8")
    x = s.rounded(s.op("GlobalAveragePool", x), 0.003, 0, "uint8")
    matrix = s.weight(8, 6)
    return s.file(s.op("MatMul", s.op("Flatten", x), matrix), rank=2)


def assert_real_answers_are_alike(data: bytes, shape: tuple[int, ...]) -> None:
    """Without a last rounding there are no codes to count: within half of what one would be."""
    converted, inputs = convert(data), examples(shape, 50)
    expected = ort(data, inputs, as_written=True)
    difference = np.abs(tflite(converted, inputs) - expected) / np.abs(expected).max()
    assert np.mean(difference < 0.5 / 127) >= 0.999


def test_a_file_in_the_manner_of_nncf() -> None:
    data = like_nncf()
    assert_real_answers_are_alike(data, (4, 8, 8))
    found = domains(fold(read_any(data, place="model.onnx")))
    assert len(found.integer) >= 2


def test_scales_for_each_channel_of_an_activation_must_match() -> None:
    model = onnx.load_from_string(like_nncf())
    rounding = next(n for n in model.graph.node if helper.make_attribute("axis", 1) in n.attribute)
    dequantize = next(n for n in model.graph.node if rounding.output[0] in n.input)
    other = next(t for t in model.graph.initializer if t.name == dequantize.input[1])
    copied = onnx.TensorProto()
    copied.CopyFrom(other)
    copied.name = "other"
    copied.raw_data = np.linspace(0.005, 0.012, 8, dtype=np.float32).tobytes()
    model.graph.initializer.append(copied)
    dequantize.input[1] = "other"
    with pytest.raises(InputError, match=r"rounded with another scale; export it again"):
        convert(model.SerializeToString())


@pytest.mark.parametrize("kind", ["depthwise", "residual", "silu"])
def test_what_nncf_makes(kind: str) -> None:
    nncf = pytest.importorskip("nncf")
    inputs = nncf.Dataset([{"x": x[None]} for x in examples(MAP, 12, seed=6)])
    model = nncf.quantize(onnx.load_from_string(float_file(kind)), inputs, subset_size=12)
    assert_real_answers_are_alike(model.SerializeToString(), MAP)
