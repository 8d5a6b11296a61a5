"""Parameters and multiply-accumulates of files: those that torch counts, or unavailable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper, numpy_helper
from onnx_fixtures import export_onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.external.layers import Count, FileLayer, total
from edgeticket.pipeline.external.onnx_cost import onnx_layers
from edgeticket.pipeline.external.tflite_cost import tflite_layers
from edgeticket.pipeline.formats.onnx_model import parse_onnx
from edgeticket.pipeline.formats.tflite_model import parse_tflite
from edgeticket.pipeline.inspect.file import inspect_file
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.quantize import fold_bn

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(0)


class Residual(nn.Module):
    """One convolution that is called twice, a sum, and attention-like products."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.twice(self.twice(self.first(x)).relu()) + 1
        tokens = y.flatten(2).transpose(1, 2)  # [N, 64, 8]
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return self.head((weights @ tokens).mean(1))


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.PReLU(8),
        nn.Conv2d(8, 12, 1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (plain, (3, 8, 8)),
    "called twice, and attention": (Residual, (3, 8, 8)),
    "upwards": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 4, stride=2, padding=1), nn.ReLU()),
        (3, 8, 8),
    ),
    "normed": (lambda: nn.Sequential(nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(8, 4)), (16,)),
    "in time": (
        lambda: nn.Sequential(nn.Conv1d(4, 6, 5, padding=2, dilation=1), nn.Flatten()), (4, 20),
    ),
}  # fmt: skip


def sums(layers: tuple[FileLayer, ...]) -> tuple[Count, Count]:
    return total([n.parameters for n in layers]), total([n.macs for n in layers])


def of_onnx(data: bytes) -> tuple[Count, Count]:
    return sums(onnx_layers(parse_onnx(data, place="m")))


def exported(name: str) -> tuple[nn.Module, tuple[int, ...], bytes]:
    make, takes = NETWORKS[name]
    torch.manual_seed(0)
    module = make().eval()
    data = export_onnx(module, torch.zeros(1, *takes))
    return (
        fold_bn(module, takes) if name == "plain" else module,
        takes,
        data,
    )  # the exporter folds, too


def expected(module: nn.Module, takes: tuple[int, ...]) -> tuple[int, int]:
    """What torch counts; a folded network has slopes of PReLU among its stored numbers."""
    parameters, macs = count(module, takes)
    return parameters + sum(b.numel() for b in module.buffers() if b.numel() > 1), macs


@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_file_costs_what_torch_says(name: str) -> None:
    module, takes, data = exported(name)
    assert of_onnx(data) == expected(module, takes)


def with_constants(model: onnx.ModelProto) -> None:
    """Initializers become Constant nodes."""
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    rest = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def with_inputs(model: onnx.ModelProto) -> None:
    """As files of IR version 3 have it: initializers are inputs, too."""
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )


def with_open_batch(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def with_batch_of_minus_one(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = -1


def with_a_function(model: onnx.ModelProto) -> None:
    """The first convolution is the body of a function of the file's own."""
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    body = onnx.NodeProto()
    body.CopyFrom(node)
    names = [f"i{i}" for i in range(len(node.input))]
    body.input[:], body.output[:] = names, ["o"]
    model.functions.append(
        helper.make_function("own", "Own", names, ["o"], [body], model.opset_import[:1])
    )
    node.op_type, node.domain = "Own", "own"
    del node.attribute[:]
    model.opset_import.append(helper.make_opsetid("own", 1))


@pytest.mark.parametrize(
    "change",
    [with_constants, with_inputs, with_open_batch, with_batch_of_minus_one, with_a_function],
)
@pytest.mark.parametrize("name", ["plain", "called twice, and attention"])
def test_however_the_file_is_written(name: str, change: Callable[[onnx.ModelProto], None]) -> None:
    module, takes, data = exported(name)
    model = onnx.ModelProto.FromString(data)
    change(model)
    assert of_onnx(model.SerializeToString()) == expected(module, takes)


@pytest.mark.parametrize("size", ["height", -1])
def test_another_open_size_is_said_and_not_guessed(tmp_path: Path, size: str | int) -> None:
    _, _, data = exported("plain")
    model = onnx.ModelProto.FromString(data)
    height = model.graph.input[0].type.tensor_type.shape.dim[2]
    setattr(height, "dim_param" if isinstance(size, str) else "dim_value", size)
    del model.graph.value_info[:]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = inspect_file(tmp_path / "m.onnx")
    assert found.parameters == expected(*exported("plain")[:2])[0]
    assert isinstance(found.macs, Unavailable)
    assert "are not known" in found.macs.reason


class _Reader(CalibrationDataReader):
    def __init__(self, name: str) -> None:
        self._left = iter([{name: RNG.normal(size=(1, 3, 8, 8)).astype("f4")} for _ in range(4)])

    def get_next(self) -> Any:
        return next(self._left, None)


@pytest.mark.parametrize("form", QuantFormat)
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_files_cost_the_same(
    tmp_path: Path, form: QuantFormat, per_channel: bool
) -> None:
    """Of a network with a sum and a product of two values, which are operators of ORT's own."""
    module, takes, data = exported("called twice, and attention")
    (tmp_path / "f.onnx").write_bytes(data)
    quantize_static(
        *(tmp_path / "f.onnx", tmp_path / "q.onnx", _Reader("input")),
        quant_format=form,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    quantised = (tmp_path / "q.onnx").read_bytes()
    assert of_onnx(quantised) == tuple(count(module, takes))


def graph_of(
    nodes: list[onnx.NodeProto], tensors: list[TensorProto], shape: list[int]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)], tensors,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def real(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(RNG.normal(size=shape).astype("f4"), name)


def test_settings_are_no_parameters() -> None:
    nodes = [
        helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["n"]),
        helper.make_node("Resize", ["n", "", "scales"], ["r"]),
        helper.make_node("Clip", ["r", "low", "high"], ["y"]),
    ]
    tensors = [real(name, 3) for name in "sbmv"]
    tensors += [numpy_helper.from_array(np.array([1, 1, 2, 2], "f4"), "scales")]
    tensors += [numpy_helper.from_array(np.array(v, "f4"), n) for n, v in (("low", 0), ("high", 1))]
    assert of_onnx(graph_of(nodes, tensors, [1, 3, 4, 4]).SerializeToString()) == (6, 0)


def test_sparse_weights_count_with_their_zeros() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = graph_of(nodes, [], [1, 6])
    at = numpy_helper.from_array(np.array([1, 5]), "at")
    sparse = helper.make_sparse_tensor(real("w", 2), at, [6, 4])
    model.graph.sparse_initializer.append(sparse)
    assert of_onnx(model.SerializeToString()) == (24, 24)


def test_recurrent_layers_and_einsum() -> None:
    lstm, gru = nn.LSTM(5, 7), nn.GRU(7, 3)
    nodes = [
        helper.make_node("LSTM", ["x", "w1", "r1", "b1"], ["a"], hidden_size=7),
        helper.make_node("Squeeze", ["a", "axis"], ["s"]),
        helper.make_node("GRU", ["s", "w2", "r2", "b2"], ["g"], hidden_size=3),
        helper.make_node("Einsum", ["g", "e"], ["y"], equation="tdbh,hk->tk"),
    ]
    tensors = [real("w1", 1, 28, 5), real("r1", 1, 28, 7), real("b1", 1, 56)]
    tensors += [real("w2", 1, 9, 7), real("r2", 1, 9, 3), real("b2", 1, 18), real("e", 3, 2)]
    tensors += [numpy_helper.from_array(np.array([1]), "axis")]
    found = of_onnx(graph_of(nodes, tensors, [11, 1, 5]).SerializeToString())
    parameters = sum(p.numel() for layer in (lstm, gru) for p in layer.parameters()) + 6
    assert found == (parameters, 11 * (28 * 12 + 9 * 10) + 11 * 6)


def test_what_nobody_can_count_is_unavailable() -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"])], "b", [],
        [helper.make_tensor_value_info("z", FLOAT, [1, 4])], [real("w", 6, 4)],
    )  # fmt: skip
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    branch = helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)
    parameters, macs = of_onnx(graph_of([yes, branch], [], [1, 6]).SerializeToString())
    assert (parameters, type(macs)) == (48, Unavailable)
    packed = numpy_helper.from_array(RNG.integers(0, 9, (8, 4), np.uint8), "w")
    nodes = [helper.make_node("Odd", ["x", "w"], ["y"], domain="com.microsoft")]
    found = of_onnx(graph_of(nodes, [packed], [1, 6]).SerializeToString())
    assert all(isinstance(value, Unavailable) for value in found)
    bits = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain="com.microsoft",
        N=8,
        K=64,
        bits=4,
        block_size=32,
    )
    tensors = [
        numpy_helper.from_array(RNG.integers(0, 9, (8, 2, 16), np.uint8), "w"),
        real("s", 16),
    ]
    assert of_onnx(graph_of([bits], tensors, [1, 64]).SerializeToString()) == (512, 512)


# --- TFLite


def of_tflite(data: bytes) -> tuple[Count, Count]:
    return sums(tflite_layers(parse_tflite(data, place="m")))


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    model = tfl.ModelT.InitFromObj(tfl.Model.GetRootAs(data, 0))
    change(model)
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="module")
def small() -> tuple[tuple[int, int], bytes]:
    """What torch counts of a network whose biases are zeros, and its TFLite file."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(), nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8),
    ).eval()  # fmt: skip
    for layer in module:
        if hasattr(layer, "bias"):
            nn.init.zeros_(layer.bias)
    data = TARGETS["tflite-fp32"].convert(export(fold_bn(module, (3, 8, 8)))).data
    return tuple(count(module, (3, 8, 8))), data


def _empty_first(model: Any) -> None:
    model.buffers[0].data = np.array([], np.uint8)


def _all_empty(model: Any) -> None:
    for buffer in model.buffers:
        buffer.data = np.array([], np.uint8) if buffer.data is None else buffer.data


def _biases_in_one_buffer(model: Any) -> None:
    """As writers do it that hold equal bytes once."""
    kept: dict[bytes, int] = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None:
            tensor.buffer = kept.setdefault(bytes(data), tensor.buffer)


def _open_batch(model: Any) -> None:
    for tensor in model.subgraphs[0].tensors:
        if len(tensor.shape) and tensor.shape[0] == 1 and model.buffers[tensor.buffer].data is None:
            tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)


@pytest.mark.parametrize(
    "change", [lambda m: None, _empty_first, _all_empty, _biases_in_one_buffer, _open_batch]
)
def test_a_tflite_file_costs_what_torch_says(
    small: tuple[tuple[int, int], bytes], change: Callable[[Any], None]
) -> None:
    counted, data = small
    assert of_tflite(changed(data, change)) == counted


def test_a_weight_in_two_tensors_is_one(small: tuple[tuple[int, int], bytes]) -> None:
    (parameters, macs), data = small

    def share(model: Any) -> None:
        graph = model.subgraphs[0]
        shapes = [tuple(t.shape) for t in graph.tensors]
        one, other = (shapes.index(shape) for shape in ((8, 1, 1, 8), (8, 8)))
        graph.tensors[other].buffer = graph.tensors[one].buffer

    assert of_tflite(changed(data, share)) == (parameters - 64, macs)


def test_open_sizes_and_loops_are_said(small: tuple[tuple[int, int], bytes]) -> None:
    (parameters, _), data = small

    def open_height(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].shapeSignature = np.array([1, -1, 8, 3], np.int32)

    found, macs = of_tflite(changed(data, open_height))
    assert found == parameters
    assert isinstance(macs, Unavailable)

    def own(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode, code.deprecatedBuiltinCode = tfl.BuiltinOperator.CUSTOM, 32
        code.customCode = b"Mine"

    assert all(isinstance(value, Unavailable) for value in of_tflite(changed(data, own)))
