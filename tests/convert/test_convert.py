"""Whole networks: torch -> the graph -> all five files -> both runtimes."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
import torch.nn.functional as F
from ai_edge_litert import schema_py_generated as schema
from convert_fixtures import outputs, run_onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.models.torchvision_cure import import_torchvision
from edgeticket.pipeline.convert import Converted
from edgeticket.pipeline.convert.targets import TARGETS, targets_of
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.quantize import Scales, calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

FP32, INT8 = list(targets_of("fp32")), list(targets_of("int8"))


@dataclass(frozen=True)
class Built:
    """A network on both sides of the border."""

    folded: nn.Module
    int8: nn.Module
    scales: Scales
    images: Tensor  # [N, C, H, W]
    graphs: dict[str, Graph]  # by converter
    files: dict[str, Converted]

    def run(self, name: str) -> npt.NDArray[Any]:
        images = self.images.movedim(1, -1).numpy()
        return outputs(self.files[name], images, runtime=TARGETS[name].runtime)

    def imitation(self) -> npt.NDArray[Any]:
        """The codes that torch expects."""
        spec = self.files["tflite-int8"].output
        assert spec.scale is not None
        assert spec.zero_point is not None
        with torch.inference_mode():
            codes = self.int8(self.images) / spec.scale
        return codes.round().int().numpy() + spec.zero_point


def build(
    module: nn.Module, shape: tuple[int, ...], *, images: int | Tensor, fit: bool = True
) -> Built:
    """``images``: these, or as many of noise; ``fit``: batch norms take statistics from them."""
    x = images
    if isinstance(x, int):
        x = torch.randn(x, *shape, generator=torch.Generator().manual_seed(2))
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        module.train(fit)(x[:16])
    module.eval()
    scales = calibrate(module, [x[:16]], Ptq(method="ptq"))
    folded = fold_bn(module, tuple(x.shape[1:]))
    int8 = fake_quantized(folded, scales)
    exported = {"fp32": export(folded), "int8": export(int8)}
    sources = {name: exported["fp32" if name in FP32 else "int8"] for name in TARGETS}
    files = {name: TARGETS[name].convert(source) for name, source in sources.items()}
    return Built(folded, int8, scales, x, sources, files)


@functools.cache
def built(arch: str) -> Built:
    torch.manual_seed(0)
    if arch == "mobilenet_v2":
        # Left as initialised: normalised to its inputs, so deep a random network is chaotic, and
        # a difference of one code between torch and a runtime grows without bound.
        module = import_torchvision().models.mobilenet_v2(weights=None)
        return build(module, (3, 96, 96), images=100, fit=False)
    network = Network.fresh(arch, {"width": 8} if arch in ("resnet20", "vgg_small") else {}, seed=0)
    fit = arch != "bc_resnet1"  # of twelve blocks: chaotic likewise
    return build(network.module(), network.input_shape, images=32, fit=fit)


# In test_convert_networks.py; transformers and 1-D networks are in test_convert_sequences.py, those
# that tell no classes in test_convert_tasks.py.
ELSEWHERE = {
    *("resnet56", "efficientnet_lite0", "cifar_vit", "cifar_conv_vit", "digits_vit"),
    *("separable_ctc", "separable_classifier"),
    *("cell_detector", "unet", "anchored_upscaler", "conv_autoencoder", "conv_gru"),
}
ARCHITECTURES = [*(a for a in models.ARCHITECTURES if a not in ELSEWHERE), "mobilenet_v2"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_float_files_do_what_torch_does(arch: str) -> None:
    network = built(arch)
    assert_float_files_are_right(network)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_int8_files_agree(arch: str) -> None:
    assert_int8_files_agree(built(arch))


def assert_float_files_are_right(network: Built) -> None:
    with torch.inference_mode():
        expected = network.folded(network.images).numpy()
    for name in FP32:
        found = network.run(name)
        assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def assert_int8_files_agree(network: Built) -> None:
    signed, unsigned, tflite = (network.run(name) for name in INT8)
    np.testing.assert_array_equal(signed, unsigned)
    assert np.abs(tflite - signed).max() <= 1
    assert np.mean(tflite == signed) >= 0.999
    difference = np.abs(network.imitation() - signed)
    assert difference.max() <= 3
    assert difference.mean() <= 0.5


class Drawn(nn.Module):
    """A small network from a list of layer choices."""

    def __init__(self, channels: int, layers: list[dict[str, Any]], mean: bool) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self.choices, self.mean = layers, mean
        width = channels
        for choice in layers:
            group = width if choice["depthwise"] else 1
            out = width if choice["depthwise"] or choice["residual"] else choice["width"]
            stride, kernel = choice["stride"], choice["kernel"]
            if choice["residual"]:
                stride, kernel = 1, 3
            conv = nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=group)
            self.steps.append(nn.Sequential(conv, nn.BatchNorm2d(out)))
            width = out
        self.head = nn.LazyLinear(5)

    def forward(self, x: Tensor) -> Tensor:
        for step, choice in zip(self.steps, self.choices, strict=True):
            y = step(x)
            if choice["residual"]:
                y = y + x
            y = {"none": lambda v: v, "relu": F.relu, "relu6": F.relu6}[choice["clamp"]](y)
            if choice["pool"] == "max":
                y = F.max_pool2d(y, 3, 2, 1)
            if choice["pool"] == "average":
                y = F.avg_pool2d(y, 2)
            x = y
        if self.mean:
            x = F.adaptive_avg_pool2d(x, 1)
        return self.head(torch.flatten(x, 1))


choices = st.fixed_dictionaries(
    {
        "width": st.integers(1, 12),
        "kernel": st.sampled_from([1, 3, 5]),
        "stride": st.integers(1, 2),
        "depthwise": st.booleans(),
        "residual": st.booleans(),
        "clamp": st.sampled_from(["none", "relu", "relu6"]),
        "pool": st.sampled_from(["none", "none", "max", "average"]),
    }
)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 4), st.lists(choices, min_size=2, max_size=4), st.booleans())
def test_random_networks(channels: int, layers: list[dict[str, Any]], mean: bool) -> None:
    torch.manual_seed(0)
    module = Drawn(channels, layers, mean)
    module(torch.randn(2, channels, 33, 30))
    network = build(module, (channels, 33, 30), images=32)
    assert_float_files_are_right(network)
    assert_int8_files_agree(network)


@pytest.mark.parametrize("name", TARGETS)
def test_the_same_bytes_every_time(name: str) -> None:
    network = built("lenet5")
    assert TARGETS[name].convert(network.graphs[name]) == network.files[name]


def test_tensors_are_described() -> None:
    files = {n: f for n, f in built("resnet20").files.items() if not TARGETS[n].optional}
    images = {name: (f.input.shape, f.input.dtype, f.input.layout) for name, f in files.items()}
    assert images == {
        "onnx-fp32": ((1, 3, 32, 32), "float32", "NCHW"),
        "onnx-int8-s8": ((1, 3, 32, 32), "int8", "NCHW"),
        "onnx-int8-u8": ((1, 3, 32, 32), "uint8", "NCHW"),
        "tflite-fp32": ((1, 32, 32, 3), "float32", "NHWC"),
        "tflite-int8": ((1, 32, 32, 3), "int8", "NHWC"),
    }
    assert {(f.output.shape, f.output.layout) for f in files.values()} == {((1, 10), "NC")}
    points = {name: f.input.zero_point for name, f in files.items()}
    assert points["onnx-fp32"] is points["tflite-fp32"] is files["onnx-fp32"].input.scale is None
    assert points["onnx-int8-s8"] == points["tflite-int8"]
    assert points["onnx-int8-u8"] == points["onnx-int8-s8"] + 128
    assert len({f.input.scale for name, f in files.items() if name in INT8}) == 1


def tflite_model(data: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


@pytest.mark.parametrize("arch", ["resnet20", "mobilenet_v2"])
def test_every_scale_is_the_same_number_in_every_file(arch: str) -> None:
    network = built(arch)
    tensors = tflite_model(network.files["tflite-int8"].data).subgraphs[0].tensors
    tflite = {t.name.decode(): t.quantization for t in tensors}
    final = list(network.scales.activations)[-1]
    for kind, shift in (("onnx-int8-s8", 0), ("onnx-int8-u8", 128)):
        graph = onnx.load_from_string(network.files[kind].data).graph
        stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        nodes = {node.output[0]: node for node in graph.node}
        layers = {  # by the codes of the weight, which no other layer shares as it does zeros
            nodes[node.input[1]].input[0]: [nodes[name] for name in node.input[1:]]
            for node in graph.node
            if node.op_type in ("Conv", "Gemm", "MatMul")
        }
        for name, expected in network.scales.activations.items():
            value = {final: "output"}.get(name, name)
            if value in nodes:  # not the input
                _, scale, zero_point = nodes[value].input
                assert stored[scale] == np.float32(expected.scale)
                assert stored[zero_point] == expected.zero_point + shift
                assert tflite[value].scale.tolist() == [np.float32(expected.scale)]
                assert tflite[value].zeroPoint.tolist() == [expected.zero_point]
        for name, scales in network.scales.weights.items():
            expected_scales = np.array(scales, np.float32)
            weight, bias = (node.input for node in layers[f"{name}.weight"])
            np.testing.assert_array_equal(stored[weight[1]], expected_scales)
            np.testing.assert_array_equal(tflite[f"{name}.weight"].scale, expected_scales)
            np.testing.assert_array_equal(stored[bias[1]], tflite[f"{name}.bias"].scale)
            assert stored[bias[0]].tobytes() in network.files["tflite-int8"].data


def test_buffers_are_aligned() -> None:
    data = built("lenet5").files["tflite-fp32"].data
    model = schema.Model.GetRootAs(data)
    for i in range(1, model.BuffersLength()):
        vector = model.Buffers(i)._tab
        start = vector.Vector(vector.Offset(4))
        assert start % 16 == 0


class Pruned(nn.Module):
    """Zero weights, an all-zero channel, and a layer that is dead but for a tiny bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.dead = nn.Conv2d(8, 4, 3)
        self.fc = nn.Linear(4 * 4 * 4, 5)
        with torch.no_grad():
            self.conv.weight[2] = 0
            self.conv.weight[:, 1] = 0
            self.dead.weight.zero_()
            self.dead.bias.fill_(1e-9)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.dead(F.relu(self.conv(x))), 1))


def test_zero_weights_stay_zero_and_dead_layers_do_no_harm() -> None:
    torch.manual_seed(0)
    network = build(Pruned(), (3, 8, 8), images=8)
    graph = onnx.load_from_string(network.files["onnx-int8-u8"].data).graph
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    codes = stored["conv.weight"]
    assert not codes[2].any()
    assert not codes[:, 1].any()
    assert np.count_nonzero(codes) > 0.9 * 7 * 2 * 9
    assert_int8_files_agree(network)


@pytest.mark.parametrize("name", ["onnx-int8-s8", "tflite-int8"])
@pytest.mark.parametrize("layer", ["features_0", "features_9", "classifier"])
def test_a_weight_scale_that_is_wrong_by_a_tenth_is_found(name: str, layer: str) -> None:
    network = built("digits_cnn")
    scale = np.array(network.scales.weights[layer], np.float32)
    data = network.files[name].data
    assert data.count(scale.tobytes()) == 1
    wrong = data.replace(scale.tobytes(), (scale * np.float32(1.1)).tobytes())
    files = {**network.files, name: replace(network.files[name], data=wrong)}
    with pytest.raises(AssertionError):
        assert_int8_files_agree(replace(network, files=files))


# ONNX files: what of them is converted, and what cannot be


def float_model(
    *nodes: onnx.NodeProto,
    shape: tuple[Any, ...] = (1, 2, 6, 6),
    rank: int = 4,
    opset: int = 20,
    **arrays: Any,
) -> bytes:
    """The nodes between ``input`` and ``output``; arrays become initialisers."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])
    return bytes(model.SerializeToString())


def node(kind: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, ["output"], name="step", **attributes)


def before(kind: str, *inputs: str, name: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [name], name=name, **attributes)


WEIGHT = np.random.default_rng(0).normal(size=(2, 2, 3, 3)).astype(np.float32)
CONVERTIBLE = {
    "softplus": float_model(node("Softplus", "input")),
    "automatic padding": float_model(node("Conv", "input", "w", auto_pad="SAME_UPPER"), w=WEIGHT),
    "automatic padding, even": float_model(
        node("Conv", "input", "w", auto_pad="SAME_LOWER", strides=[2, 2]), w=WEIGHT[..., :2]
    ),
    "computed weights": float_model(
        before("Relu", "w", name="r"), node("Conv", "input", "r"), w=WEIGHT
    ),
    "weights computed in steps": float_model(
        before("Constant", name="c", value_float=2.0),
        before("Mul", "w", "c", name="r"),
        before("Transpose", "r", name="t", perm=[1, 0, 2, 3]),
        node("Conv", "input", "t"),
        w=WEIGHT,
    ),
    "a shape that is computed": float_model(
        before("Concat", "batch", "rest", name="sizes", axis=0),
        before("Reshape", "input", "sizes", name="wide"),
        node("Transpose", "wide", perm=[0, 2, 1, 3]),
        batch=np.array([1]),
        rest=np.array([4, 3, 6]),
    ),
    "one name twice": float_model(before("Sigmoid", "input", name="a"), node("Sigmoid", "a")),
    "rounding an average up": float_model(
        node("AveragePool", "input", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    ),
    "padding that TFLite has otherwise": float_model(
        node("AveragePool", "input", kernel_shape=[2, 2], pads=[1, 1, 1, 1]), shape=(1, 2, 7, 7)
    ),
    "padding that is not counted": float_model(
        node("AveragePool", "input", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        shape=(1, 2, 7, 7),
    ),
    "zeros around a maximum": float_model(
        before("Sub", "input", "five", name="low"),
        before("Pad", "low", "a", name="wide"),
        node("MaxPool", "wide", kernel_shape=[3, 3], strides=[2, 2]),
        a=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        five=np.float32(5),
    ),
    "every other number": float_model(
        node("Slice", "input", "a", "b", "c", "d"),
        a=np.array([0]),
        b=np.array([6]),
        c=np.array([2]),
        d=np.array([2]),
    ),
    "repeated border": float_model(
        node("Pad", "input", "a", mode="edge"), a=np.array([0, 0, 1, 1, 0, 0, 1, 1])
    ),
    "another hard sigmoid": float_model(node("HardSigmoid", "input")),
    "flattened output": float_model(node("Flatten", "input"), rank=2),
    "real numbers of codes": float_model(
        before("DequantizeLinear", "codes", "scale", name="w", axis=0),
        node("Mul", "input", "w"),
        codes=np.array([[[3]], [[-5]]], np.int8),
        scale=np.array([0.5, 0.25], np.float32),
    ),
}


@pytest.mark.parametrize("name", FP32)
@pytest.mark.parametrize("case", CONVERTIBLE)
def test_what_an_onnx_file_says_is_what_the_files_do(case: str, name: str) -> None:
    data = CONVERTIBLE[case]
    shape = [
        d.dim_value for d in onnx.load_from_string(data).graph.input[0].type.tensor_type.shape.dim
    ]
    images = np.random.default_rng(1).normal(size=(4, *shape[1:])).astype(np.float32)
    expected = run_onnx(data, images, as_written=True)
    converted = TARGETS[name].convert(data)
    found = outputs(converted, np.moveaxis(images, 1, -1), runtime=TARGETS[name].runtime)
    if converted.output.layout == "NHWC":
        found = np.moveaxis(found, -1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


UNCONVERTIBLE = {
    "unknown operator": (
        float_model(node("Bernoulli", "input")),
        r"^step \(Bernoulli\) has no counterpart here; replace it by one of Abs, .*Add, ",
    ),
    "weights from the input": (
        float_model(node("Conv", "input", "input"), shape=(1, 1, 3, 3)),
        r"^step \(Conv\) computes its weights from the input: it must be a constant",
    ),
    "another operator set": (
        float_model(node("Relu", "input"), opset=17),
        r"^the ONNX file is of operator set \[17\]; export with 20",
    ),
    "not a number": (
        float_model(node("Conv", "input", "w"), w=WEIGHT * np.nan),
        r"^w holds NaN or infinity",
    ),
    "computed to no number": (
        float_model(before("Log", "w", name="r"), node("Conv", "input", "r"), w=-np.abs(WEIGHT)),
        r"^r \(Log\) makes NaN of constants; check how they were made",
    ),
    "constants without end": (
        float_model(
            before("ConstantOfShape", "n", name="r"),
            node("Mul", "input", "r"),
            n=np.array([2**20, 2**9]),
        ),
        r"^r \(ConstantOfShape\) makes constants of more than 268435456 numbers; store what",
    ),
    "larger than any device": (
        float_model(node("Tile", "input", "n"), n=np.array([1, 1, 2**30, 2**30])),
        r"^step \(Tile\) makes \[1, 2, .*\], which no device holds",
    ),
    "an order that is none": (
        float_model(node("Transpose", "input", perm=[0, 1, 1, 3])),
        r"^step \(Transpose\) is not as ONNX defines it \(.*repeated value: 1\); export it again",
    ),
    "types that differ": (
        float_model(node("Add", "input", "w"), w=np.arange(6)),
        r"^step \(Add\) is not as ONNX defines it \(B has inconsistent type .*\); export it again",
    ),
    "wrong shape": (
        float_model(node("Conv", "input", "w"), w=np.ones((2, 7, 3, 3), "f4")),
        r"^step \(Conv\) has a weight \[2, 7, 3, 3\] that does not fit 2 input channels; export",
    ),
    "groups that do not divide": (
        float_model(node("Conv", "input", "w", group=3), w=np.ones((2, 0, 3, 3), "f4")),
        r"^step \(Conv\) ",
    ),
    "dynamic batch": (
        float_model(node("Relu", "input"), shape=("n", 2, 6, 6)),
        r"^input has shape \['n', 2, 6, 6\]; export with fixed sizes",
    ),
    "batch of two": (
        float_model(node("Relu", "input"), shape=(2, 2, 6, 6)),
        r"^input input has shape \[2, 2, 6, 6\]; export with a batch of 1",
    ),
    "empty file": (b"", r"^the ONNX file is no whole ONNX file, or has no operators"),
    "text": (
        b"these are not the bytes",
        r"the ONNX file is no whole ONNX file .*export or copy it again",
    ),
}


@pytest.mark.parametrize("fault", UNCONVERTIBLE)
def test_what_cannot_be_converted_is_one_sentence(fault: str) -> None:
    data, message = UNCONVERTIBLE[fault]
    with pytest.raises(InputError, match=message) as caught:
        TARGETS["tflite-fp32"].convert(data)
    assert "\n" not in str(caught.value)


def test_whole_numbers_are_computed_as_such() -> None:
    data = float_model(
        before("Cast", "input", name="i", to=TensorProto.INT64),
        before("Neg", "i", name="n"),
        node("Cast", "n", to=TensorProto.FLOAT),
    )
    x = 5 * np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32)
    for kind in FP32:
        target = TARGETS[kind]
        y = outputs(target.convert(data), np.moveaxis(x, 1, -1), runtime=target.runtime)
        if y.shape != x.shape:  # channels last
            y = np.moveaxis(y, -1, 1)
        np.testing.assert_array_equal(y, -np.trunc(x))


@pytest.mark.parametrize("name", TARGETS)
def test_float_and_quantised_networks_are_not_confused(name: str) -> None:
    network = built("lenet5")
    other = network.graphs["tflite-int8" if name in FP32 else "tflite-fp32"]
    with pytest.raises(InputError, match="network cannot become an"):
        TARGETS[name].convert(other)


QDQ = Path(__file__).parents[1] / "golden" / "network-qdq.onnx"


def as_real(data: bytes) -> npt.NDArray[Any]:
    """Answers of a TFLite and of an ONNX file of QDQ for the same real numbers."""
    x = np.random.default_rng(0).normal(size=(20, 6, 6, 1)).astype(np.float32)
    converted = TARGETS["tflite-int8"].convert(data)
    found = outputs(converted, x, runtime="tflite").astype(np.float32)
    if converted.output.scale is not None:
        assert converted.output.zero_point is not None
        found = (found - converted.output.zero_point) * np.float32(converted.output.scale)
    expected = run_onnx(data, x.transpose(0, 3, 1, 2), as_written=True)
    return np.stack([found, expected])


def test_what_is_not_rounded_is_computed_in_float32() -> None:
    model = onnx.load(QDQ)
    last = next(node for node in model.graph.node if node.op_type == "Gemm")
    kept = list(model.graph.node)[: list(model.graph.node).index(last) + 1]
    del model.graph.node[len(kept) :]
    model.graph.node[-1].output[0] = "output"
    found, expected = as_real(model.SerializeToString())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_scale_that_changes_between_the_two_halves_of_rounding_is_refused() -> None:
    model = onnx.load(QDQ)
    first, second = (
        next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == name)
        for name in ("_1", "_2")
    )
    dequantize = next(n for n in model.graph.node if first.output[0] in n.input)
    dequantize.input[1] = second.input[1]
    with pytest.raises(InputError, match=r"reads _1\S*, rounded with another scale; export"):
        TARGETS["onnx-int8-u8"].convert(model.SerializeToString())


def test_what_is_read_before_it_is_rounded_is_read_so() -> None:
    model = onnx.load(QDQ)
    before = as_real(model.SerializeToString())[1]
    rounding = next(
        n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "_2"
    )
    dequantize = next(n for n in model.graph.node if rounding.output[0] in n.input)
    reader = next(n for n in model.graph.node if dequantize.output[0] in n.input)
    reader.input[0] = "_2"
    found, expected = as_real(model.SerializeToString())
    assert not np.array_equal(before, expected)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scales_along_another_axis_are_refused() -> None:
    model = onnx.load(QDQ)
    weights = {t.name for t in model.graph.initializer}
    rounding = next(
        n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in weights
    )
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == rounding.input[0]:
            for attribute in node.attribute:
                attribute.i = 1 if attribute.name == "axis" else attribute.i
    with pytest.raises(InputError, match=r"\(QuantizeLinear\) "):
        TARGETS["tflite-int8"].convert(model.SerializeToString())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_files_are_input_errors(data: st.DataObject) -> None:
    whole = QDQ.read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = (
        damaged[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else damaged
    )
    for name in ("onnx-int8-u8", "tflite-int8"):
        with contextlib.suppress(InputError):
            TARGETS[name].convert(bytes(damaged))
