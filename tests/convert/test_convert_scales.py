"""Layers whose scales lie along other axes than usual: transposed, grouped, and around steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from qdq_fixtures import equal_share
from test_convert_qdq import Sketch

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.foreign import Domains, domains, read_any
from edgeticket.pipeline.graph.fold import fold

SHAPE = (8, 7, 7)


def exact_bias(s: Sketch, scales: Any) -> str:
    """A bias of whole counts of the sum; scales: of the input times those of the weight."""
    return s.store((s.random.integers(-3000, 3000, len(scales)) * scales).astype(np.float32))


def scale_of(s: Sketch, name: str) -> Any:
    """The numbers of a stored tensor."""
    return numpy_helper.to_array(next(t for t in s.tensors if t.name == name))


def found_in(data: bytes) -> Domains:
    return domains(fold(read_any(data, place="model.onnx")))


def stored_codes(s: Sketch, *shape: int, axis: int | None) -> str:
    """A weight of int8 codes with a scale for each index of an axis, or one."""
    codes = s.store(s.random.integers(-127, 128, shape).astype(np.int8))
    if axis is None:
        return s.op("DequantizeLinear", codes, *s.scale(0.001, 0, "int8"))
    scales = s.random.permutation(np.linspace(0.0007, 0.0017, shape[axis])).astype(np.float32)
    zeros = s.store(np.zeros(shape[axis], np.int8))
    return s.op("DequantizeLinear", codes, s.store(scales), zeros, axis=axis)


TRANSPOSED: dict[str, tuple[dict[str, Any], tuple[int, ...], int | None]] = {
    "per tensor": ({"strides": [2, 2]}, (8, 6, 3, 3), None),
    "per output channel": ({"strides": [2, 2], "pads": [1] * 4}, (8, 6, 4, 4), 1),
    "output padding": (
        {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}, (8, 6, 3, 3), 1
    ),
    "uneven strides": ({"strides": [2, 1], "pads": [0, 1, 1, 1]}, (8, 6, 3, 3), 1),
    "stride of one": ({"pads": [1] * 4}, (8, 6, 3, 3), 1),
    "groups": ({"strides": [2, 2], "group": 2}, (8, 3, 3, 3), 1),
    "depthwise": ({"strides": [2, 2], "group": 8}, (8, 1, 2, 2), None),
    "depthwise, per input channel": ({"strides": [2, 2], "group": 8}, (8, 2, 2, 2), 0),
}  # fmt: skip


def transposed(kind: str, *, clip: bool = False) -> bytes:
    attributes, shape, axis = TRANSPOSED[kind]
    s = Sketch(shape=SHAPE)
    x = s.rounded("x", 0.03, -5)
    weight = stored_codes(s, *shape, axis=axis)
    scales = scale_of(s, s.nodes[-1].input[1])
    group = attributes.get("group", 1)
    wide = np.repeat(scales, shape[1]) if axis == 0 else np.resize(scales, shape[1] * group)
    bias = exact_bias(s, scale_of(s, "t0") * wide)
    up = s.op("ConvTranspose", x, weight, bias, **attributes)
    if clip:
        up = s.op("Relu", up)
    up = s.rounded(up, 0.012, -100 if clip else 9)
    if kind == "uneven strides":  # which ends in other axes
        up = s.rounded(s.op("Conv", up, s.weight(5, 6, 1, 1)), 0.009, 4)
    return s.file(up)


@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize("kind", TRANSPOSED)
def test_transposed_convolutions_are_integer(kind: str, clip: bool) -> None:
    data = transposed(kind, clip=clip)
    assert str(found_in(data)) == "all in int8"
    assert equal_share(data, SHAPE, 20) >= 0.999


def test_a_transposed_convolution_with_scales_of_inputs_says_why_it_is_not() -> None:
    s = Sketch(shape=SHAPE)
    up = s.op("ConvTranspose", s.rounded("x", 0.03, -5), stored_codes(s, 8, 6, 3, 3, axis=0))
    data = s.file(s.rounded(up, 0.012, 9))
    assert "its weight has several scales within one output channel" in str(found_in(data))
    assert equal_share(data, SHAPE, 20) >= 0.999


@pytest.mark.parametrize(
    ("weight", "outputs", "group"), [((8, 3, 3, 3), 9, 3), ((8, 3, 3, 3), 5, 2)]
)
def test_transposed_convolutions_that_fit_nothing_are_refused(
    weight: tuple[int, ...], outputs: int, group: int
) -> None:
    s = Sketch(shape=SHAPE)
    codes, bias = stored_codes(s, *weight, axis=None), s.bias(outputs, 3e-5)
    up = s.op("ConvTranspose", s.rounded("x", 0.03, -5), codes, bias, group=group)
    with pytest.raises(InputError, match=r"must be divisible by group|does not fit its weight"):
        read_any(s.file(s.rounded(up, 0.012, 9)), place="model.onnx")


def stepped(s: Sketch, x: str, steps: Any = None, *, dtype: str = "uint8", count: int = 8) -> str:
    """A scale for each channel of an activation, shuffled."""
    if steps is None:
        steps = s.random.permutation(np.linspace(0.004, 0.012, count))
    numbers = s.store(np.asarray(steps, np.float32)), s.store(np.zeros(len(steps), dtype))
    return s.op("DequantizeLinear", s.op("QuantizeLinear", x, *numbers, axis=1), *numbers, axis=1)


def like_nncf(kind: str) -> bytes:
    """A layer, a scale for each of its channels, a depthwise layer: as NNCF writes it."""
    s = Sketch(shape=SHAPE)
    x = s.rounded("x", 0.03, 0)
    bias = exact_bias(s, scale_of(s, "t0") * np.linspace(0.0005, 0.002, 8, dtype=np.float32))
    multiplier, dtype, group = 1, "uint8", 8
    pads, steps = [1] * 4, None
    match kind:
        case "behind a convolution" | "two readers" | "padded unevenly":
            x = s.op("Relu", s.op("Conv", x, s.weight(8, 8, 3, 3, kind="channel"), bias))
        case "clipped at six":  # 255 steps are below 6
            conv = s.op("Conv", x, s.weight(8, 8, 3, 3, kind="channel"), bias)
            x = s.op("Clip", conv, s.store(np.float32(0)), s.store(np.float32(6)))
        case "symmetric":
            x, dtype = s.op("Conv", x, s.weight(8, 8, 3, 3, kind="channel"), bias), "int8"
        case "behind a transposed convolution":
            x = s.op("Relu", s.op("ConvTranspose", x, stored_codes(s, 8, 8, 3, 3, axis=1)))
        case "behind another depthwise":
            x = stepped(s, s.op("Conv", x, s.weight(8, 8, 1, 1, kind="channel"), bias))
            x = s.op("Conv", x, s.weight(8, 1, 3, 3, kind="channel"), group=8)
            x = s.op("Relu", x)
        case "several outputs a channel":
            multiplier = 2
            x = s.op("Relu", s.op("Conv", x, s.weight(8, 8, 3, 3, kind="channel"), bias))
        case "a scale for each group":
            group, steps = 4, np.repeat([0.004, 0.011, 0.006, 0.009], 2)
            x = s.op("Relu", s.op("Conv", x, s.weight(8, 8, 3, 3, kind="channel"), bias))
    x = stepped(s, x, steps, dtype=dtype)
    more: dict[str, Any] = {"pads": pads}
    if kind == "padded unevenly":
        more = {"strides": [2, 2], "pads": [0, 0, 1, 1]}
    weight = s.weight(8 * multiplier, 8 // group, 3, 3, kind="channel")
    y = s.rounded(s.op("Relu", s.op("Conv", x, weight, group=group, **more)), 0.006, 0, "uint8")
    if kind == "two readers":
        other = s.op("Conv", x, s.weight(8, 1, 3, 3, kind="channel"), group=8, **more)
        other = s.rounded(other, 0.006, 3)
        y = s.op("Concat", y, s.rounded(other, 0.006, 0, "uint8"), axis=1)
        y = s.rounded(s.op("Conv", s.rounded(y, 0.006, 0), s.weight(4, 16, 1, 1)), 0.01, 0)
    return s.file(y)


STEPPED = (
    *("behind a convolution", "clipped at six", "symmetric", "behind a transposed convolution"),
    *("behind another depthwise", "several outputs a channel", "a scale for each group"),
    *("padded unevenly", "two readers"),
)


@pytest.mark.parametrize("kind", STEPPED)
def test_scales_for_each_channel_go_into_layers(kind: str) -> None:
    data = like_nncf(kind)
    real = {operator.kind for operator in found_in(data).real}
    assert real == ({"Concat"} if kind == "two readers" else set())
    assert equal_share(data, SHAPE, 20, as_written=True) >= 0.999


def with_zero_points(pads: int, *, clip: bool = False, convolved: bool = True) -> bytes:
    """A scale and a zero point for each channel."""
    s = Sketch(shape=SHAPE)
    x = s.rounded("x", 0.03, 4)
    scales = scale_of(s, "t0") * np.linspace(0.0005, 0.002, 8, dtype=np.float32)
    if convolved:
        x = s.op("Conv", x, s.weight(8, 8, 3, 3, kind="channel"), exact_bias(s, scales))
    if clip:
        x = s.op("Relu", x)
    steps = s.random.permutation(np.linspace(0.006, 0.012, 8)).astype(np.float32)
    zeros = s.random.permutation(np.arange(90, 170, 10)).astype(np.uint8)
    numbers = s.store(steps), s.store(zeros)
    codes = s.op("QuantizeLinear", x, *numbers, axis=1)
    x = s.op("DequantizeLinear", codes, *numbers, axis=1)
    weight = s.weight(8, 1, 3, 3, kind="channel")
    bias = exact_bias(s, steps * scale_of(s, s.nodes[-1].input[1]))
    y = s.op("Conv", x, weight, bias, group=8, pads=[pads] * 4)
    return s.file(s.rounded(y, 0.012, 0))


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"pads": 0}, set()),
        ({"pads": 1}, {"Conv", "Mul", "Sub"}),
        ({"pads": 0, "clip": True}, {"Conv", "Div", "Add"}),
        ({"pads": 0, "convolved": False}, {"Div", "Add"}),
    ],
    ids=["free", "padded", "clipped", "no layer before"],
)
def test_zero_points_for_each_channel(settings: dict[str, Any], kinds: set[str]) -> None:
    data = with_zero_points(**settings)
    found = found_in(data)
    assert {operator.kind for operator in found.real} == kinds
    reason = "its input has a zero point for each channel"
    assert (reason in str(found)) == (settings["pads"] > 0)
    assert equal_share(data, SHAPE, 20, as_written=True) >= 0.999


def test_an_input_with_scales_is_rounded_by_channel() -> None:
    """No layer makes it: a division stays, and the layer behind it is an integer one."""
    s = Sketch(shape=SHAPE)
    x = stepped(s, "x", np.linspace(0.01, 0.03, 8), dtype="int8")
    conv = s.op("Conv", x, s.weight(8, 1, 3, 3, kind="channel"), group=8, pads=[1] * 4)
    data = s.file(s.rounded(conv, 0.006, 0))
    assert {operator.kind for operator in found_in(data).real} == {"Div"}
    assert equal_share(data, SHAPE, 20, as_written=True) >= 0.999


def test_what_steps_do_not_allow_is_said() -> None:
    s = Sketch(shape=SHAPE)
    x = s.rounded("x", 0.03, 0)
    conv = s.op("Conv", x, s.weight(8, 8, 3, 3, kind="channel"))
    clip = s.op("Clip", conv, s.store(np.float32(0)), s.store(np.float32(0.9)))  # inside the codes
    wide = stepped(s, clip)
    mixed = s.op("Conv", wide, s.weight(8, 8, 1, 1, kind="channel"))
    data = s.file(s.rounded(mixed, 0.006, 0))
    sentence = str(found_in(data))
    assert (
        f"{conv}: its output is rounded with a scale for each channel, and clipped at 0 and 0.9"
        in sentence
    )
    assert f"{mixed}: its input has a scale for each channel, and it sums over those" in sentence
    assert equal_share(data, SHAPE, 20, as_written=True) >= 0.999
