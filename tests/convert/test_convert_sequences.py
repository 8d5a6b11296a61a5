"""Transformers and 1-D networks, and single operators of theirs, in the real runtimes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from convert_fixtures import outputs, run_onnx, run_tflite
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.convert import Converted
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import Graph, Operator, Value
from edgeticket.pipeline.operators.axes import reshaped_order
from edgeticket.pipeline.quantize import (
    Scales,
    calibrate,
    fake_quantized,
    fold_bn,
)
from edgeticket.pipeline.recipe import Ptq

Array = npt.NDArray[Any]


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def run(name: str, file: Converted, inputs: Tensor) -> Array:
    """Outputs with channels first: float32, or int8 codes."""
    found = outputs(file, np.moveaxis(inputs.numpy(), 1, -1), runtime=TARGETS[name].runtime)
    return np.moveaxis(found, -1, 1) if file.output.layout in ("NHWC", "NWC") else found


def assert_files_are_right(
    module: nn.Module, inputs: Tensor, *, in_whole_numbers: bool = False
) -> Scales:
    """Every file against torch: within 1e-4, and codes the same but for the odd one.

    in_whole_numbers: norms and attention are computed otherwise than in torch
        (`convert.exact_sums`): codes are those of the other files, and as near to the truth.
    """
    module.eval()
    with torch.inference_mode():
        expected = module(inputs).numpy()
    source = export(fold_bn(module, tuple(inputs.shape[1:])))
    for name in ("onnx-fp32", "tflite-fp32"):
        found = run(name, TARGETS[name].convert(source), inputs)
        assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    scales = calibrate(module, [inputs], Ptq(method="ptq"))
    int8 = fake_quantized(fold_bn(module, tuple(inputs.shape[1:])), scales)
    if in_whole_numbers:
        assert_int8_files_are_equal(int8, inputs, expected)
    else:
        assert_int8_files_are_right(int8, inputs)
    return scales


def assert_int8_files_are_equal(int8: nn.Module, inputs: Tensor, exact: Array) -> None:
    source = export(int8.eval())
    with torch.inference_mode():
        noise = np.square(int8(inputs).numpy() - exact).mean()
    codes = []
    for name in ("onnx-int8-s8", "onnx-int8-u8", "tflite-int8"):
        file = TARGETS[name].convert(source)
        zero_point, scale = file.output.zero_point, file.output.scale
        assert zero_point is not None
        assert scale is not None
        zero_point -= 128 * (file.output.dtype == "uint8")
        codes.append(run(name, file, inputs).astype(np.float64) - zero_point)
        assert np.square(codes[-1] * scale - exact).mean() <= 1.1 * noise
    assert (codes[0] == codes[1]).all()
    assert (codes[0] == codes[2]).all()


def assert_int8_files_are_right(int8: nn.Module, inputs: Tensor) -> None:
    source = export(int8.eval())
    with torch.inference_mode():
        imitated = int8(inputs).numpy()
    for name in ("onnx-int8-s8", "onnx-int8-u8", "tflite-int8"):
        file = TARGETS[name].convert(source)
        found = run(name, file, inputs)
        if file.output.scale is None or file.output.zero_point is None:
            assert file.output.dtype == "float32"
            assert np.abs(found - imitated).max() <= 0.01 * np.abs(imitated).max()
            continue
        zero_point = file.output.zero_point - 128 * (file.output.dtype == "uint8")
        off = np.abs(found - (np.rint(imitated / file.output.scale) + zero_point))
        assert off.max() <= 3
        assert np.mean(off > 0) <= 0.02


def test_vision_transformer() -> None:
    args = {"width": 16, "depth": 2, "heads": 2, "patch": 8}
    module = Network.fresh("cifar_vit", args, seed=0).module()
    scales = assert_files_are_right(module, random(24, 3, 32, 32), in_whole_numbers=True)
    # Rounded is what layers read and write; norms, attention and residual sums are not.
    assert set(scales.weights) | {"x", "blocks_0_norm1", "blocks_1_mlp_1", "mean"} <= set(
        scales.activations
    )
    assert not {"positions", "add", "blocks_0_add", "norm"} & set(scales.activations)


def test_vision_transformer_behind_convolutions() -> None:
    module = Network.fresh("cifar_conv_vit", {"width": 32, "depth": 2}, seed=0).module()
    assert_files_are_right(module, random(48, 3, 32, 32), in_whole_numbers=True)


def test_a_mean_over_time() -> None:
    args = {"mels": 6, "frames": 33, "width": 8, "blocks": 1, "kernel": 5, "num_classes": 7}
    module = Network.fresh("separable_classifier", args, seed=0).module()
    assert_files_are_right(module, random(16, 6, 33))


def test_speech_network() -> None:
    args = {"mels": 6, "frames": 33, "width": 8, "blocks": 1, "kernel": 5, "symbols": 7}
    module = Network.fresh("separable_ctc", args, seed=0).module()
    inputs = random(16, 6, 33)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 1.0
    module.train()(inputs)
    assert_files_are_right(module, inputs)
    source = export(fold_bn(module, tuple(inputs.shape[1:])))
    first, last = (TARGETS[name].convert(source) for name in ("onnx-fp32", "tflite-fp32"))
    assert (first.input.shape, first.input.layout) == ((1, 6, 33), "NCW")
    assert (last.input.shape, last.input.layout) == ((1, 33, 6), "NWC")
    assert (first.output.shape, last.output.shape) == ((1, 7, 17), (1, 17, 7))


class ClassToken(nn.Module):
    """Post-norm, with a class token, tanh GELU, and attention spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.qkv = nn.Linear(8, 24, bias=False)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 8)
        self.plain_norm = nn.LayerNorm(8, elementwise_affine=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        query, key, value = self.qkv(x).chunk(3, -1)
        weights = (query @ key.transpose(1, 2) * 0.3).softmax(-1)
        x = self.norm(x + self.out(F.gelu(weights @ value, approximate="tanh")))
        x = self.plain_norm(x)
        logits: Tensor = self.head(x[:, 0] + 0.5)
        return logits


def test_class_token() -> None:
    torch.manual_seed(0)
    assert_files_are_right(ClassToken(), random(16, 1, 12, 12), in_whole_numbers=True)


def test_attention_that_looks_back_only() -> None:
    class Causal(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    assert_files_are_right(Causal(), random(16, 4, 4))


@pytest.mark.parametrize("kept", [["1"], ["1", "2"]])
def test_layers_in_float_between_rounded_ones(kept: list[str]) -> None:
    """A network may round some of its layers only; conversions stand between."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3), nn.ReLU())
    inputs = random(16, 3, 12, 12)
    scales = calibrate(module, [inputs], Ptq(method="ptq", keep_fp32=tuple(kept)))
    int8 = fake_quantized(fold_bn(module, tuple(inputs.shape[1:])), scales)
    assert_int8_files_are_right(int8, inputs)


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 4), st.integers(2, 4), st.integers(2, 4))
def test_axes_move_as_onnx_says(
    data: st.DataObject, channels: int, height: int, width: int
) -> None:
    """Any chain of Transpose and Reshape, from a map to anything."""
    shape: tuple[int, ...] = (1, channels, height, width)
    values, operators = [Value("v0", shape)], []
    for i in range(1, data.draw(st.integers(2, 5))):
        name = f"v{i}"
        if data.draw(st.booleans()):
            axes = data.draw(st.permutations(range(1, len(shape))))
            order = [0, *axes]
            operators.append(Operator(name, "Transpose", (f"v{i - 1}",), name, {"perm": order}))
            shape = tuple(shape[axis] for axis in order)
        else:
            shape = (1, *data.draw(st.sampled_from(factorings(math.prod(shape)))))
            operators.append(Operator(name, "Reshape", (f"v{i - 1}",), name))
        values.append(Value(name, shape))
    graph = Graph(("v0",), (values[-1].name,), tuple(operators), {v.name: v for v in values}, {})
    x = np.arange(channels * height * width, dtype=np.float32).reshape(values[0].shape)
    expected = run_onnx(write_onnx(graph), x)
    found = run_tflite(write_tflite(graph), np.moveaxis(x, 1, -1))
    if len(shape) > 2:
        found = np.moveaxis(found, -1, 1)
    np.testing.assert_array_equal(found, expected)


def factorings(number: int) -> list[tuple[int, ...]]:
    """Up to three axes of at least 1 with that product."""
    pairs = [(a, number // a) for a in range(1, number + 1) if number % a == 0]
    triples = [(a, *rest) for a, b in pairs for rest in pairs_of(b)]
    return [*pairs, *triples]


def pairs_of(number: int) -> list[tuple[int, int]]:
    return [(a, number // a) for a in range(1, number + 1) if number % a == 0]


@pytest.mark.parametrize(
    ("shape", "order", "target", "expected"),
    [
        ((1, 8, 4, 4), (0, 2, 3, 1), (1, 8, 16), (0, 2, 1)),  # patches become tokens
        ((1, 8, 1, 9), (0, 2, 3, 1), (1, 8, 9), (0, 2, 1)),  # frames
        ((1, 6, 4, 4), (0, 2, 3, 1), (1, 2, 3, 4, 4), (0, 3, 4, 1, 2)),  # channels into groups
        ((1, 2, 3, 4, 4), (0, 3, 4, 1, 2), (1, 6, 4, 4), (0, 2, 3, 1)),
        ((1, 8, 4, 4), (0, 2, 3, 1), (1, 4, 32), None),  # height joins channels
        ((1, 9, 2, 4), (0, 1, 2, 3), (1, 9, 8), (0, 1, 2)),
    ],
)
def test_axes_that_need_not_move(
    shape: tuple[int, ...],
    order: tuple[int, ...],
    target: tuple[int, ...],
    expected: tuple[int, ...] | None,
) -> None:
    assert reshaped_order(shape, order, target) == expected
