"""A weight that several layers read stays one: in training, in its scales, and in the files."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper
from torch import Tensor, fx, nn

from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import integer_bias
from edgeticket.pipeline.graph.module import tied_layers
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.quantize.equalise import equalise
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.write_back import write_layers
from edgeticket.pipeline.recipe import Ptq

STEPS, INPUTS, SIZE = 6, 5, 9


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(INPUTS, SIZE, batch_first=True)
        self.head = nn.Linear(SIZE, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])  # type: ignore[no-any-return]


class Tower(nn.Module):
    """One head on two maps of different ranges, with batch normalisation in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.stem(x)
        both = self.head(wide).mean((2, 3)), self.head(wide[:, :, ::2, ::2] * 5).mean((2, 3))
        return self.last((both[0] + both[1])[:, :, None, None]).flatten(1)  # type: ignore[no-any-return]


def folded(module: nn.Module, *takes: int) -> fx.GraphModule:
    return fold_bn(module.eval(), takes)


@pytest.mark.parametrize(
    ("make", "takes", "readers"), [(Gru, (STEPS, INPUTS), STEPS), (Tower, (3, 12, 12), 2)]
)
def test_training_keeps_it_one(make: type[nn.Module], takes: tuple[int, ...], readers: int) -> None:
    torch.manual_seed(0)
    module = folded(make(), *takes)
    (nodes,) = tied_layers(module)
    assert len(nodes) == readers
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.randn(4, *takes)).square().sum().backward()
    optimizer.step()
    first, *others = (module.get_submodule(node.name) for node in nodes)
    assert all(torch.equal(first.weight, other.weight) for other in others)  # type: ignore[arg-type]
    assert all(torch.equal(first.bias, other.bias) for other in others)  # type: ignore[arg-type]
    again = folded(module, *takes)
    assert len(tied_layers(again)[0]) == readers
    graph = export(module)
    shared = Counter(op.inputs[1] for op in graph.operators if op.kind in ("Gemm", "Conv"))
    assert max(shared.values()) == readers


@pytest.mark.parametrize(("make", "takes"), [(Gru, (STEPS, INPUTS)), (Tower, (3, 12, 12))])
def test_its_scales_are_those_of_all_its_readers(
    make: type[nn.Module], takes: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    module = folded(make(), *takes)
    scales = calibrate(module, [torch.randn(8, *takes)], Ptq(method="ptq"))
    (names,) = place(module).tied
    assert len({scales.weights[name] for name in names}) == 1


def test_a_bias_far_greater_for_one_reader_than_for_another_fits_both() -> None:
    torch.manual_seed(0)
    module = folded(Tower(), 3, 12, 12)
    with torch.no_grad():
        for node in tied_layers(module)[0]:
            module.get_submodule(node.name).weight *= 2.0**-20  # type: ignore[operator]
            module.get_submodule(node.name).bias.fill_(3.0)  # type: ignore[operator]
    scales = calibrate(module, [torch.randn(8, 3, 12, 12)], Ptq(method="ptq"))
    graph = prepare(export(fake_quantized(module, scales)))
    for operator in graph.operators:
        if operator.kind == "Conv":
            integer_bias(operator, graph)  # refuses what does not fit int32


def test_files_hold_it_once() -> None:
    torch.manual_seed(0)
    module = folded(Gru(), STEPS, INPUTS)
    scales = calibrate(module, [torch.randn(8, STEPS, INPUTS)], Ptq(method="ptq"))
    for graph, kinds in [
        (export(module), ("onnx-fp32", "tflite-fp32")),
        (export(fake_quantized(module, scales)), ("onnx-int8-s8", "tflite-int8")),
    ]:
        # Of the input and of the state.
        assert _onnx_arrays(TARGETS[kinds[0]].convert(graph).data, (3 * SIZE, SIZE)) == 1
        assert _tflite_tensors(TARGETS[kinds[1]].convert(graph).data, (3 * SIZE, SIZE)) == 1


def _onnx_arrays(data: bytes, shape: tuple[int, ...]) -> int:
    stored = onnx.load_model_from_string(data).graph.initializer
    return sum(numpy_helper.to_array(tensor).shape == shape for tensor in stored)


def _tflite_tensors(data: bytes, shape: tuple[int, ...]) -> int:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    return sum(tuple(tensor.shape) == shape for tensor in model.subgraphs[0].tensors)


def test_all_steps_of_a_recurrent_layer_have_one_bias_in_int8() -> None:
    torch.manual_seed(0)
    module = folded(Gru(), STEPS, INPUTS)
    scales = calibrate(module, [torch.randn(8, STEPS, INPUTS)], Ptq(method="ptq"))
    graph = prepare(export(fake_quantized(module, scales)))
    gemms = [op for op in graph.operators if op.kind == "Gemm"]
    weight = Counter(op.inputs[1] for op in gemms).most_common(1)[0][0]
    codes = {integer_bias(op, graph)[0].tobytes() for op in gemms if op.inputs[1] == weight}
    assert len(codes) <= 2  # the first step reads zeros, which have a scale of their own


def test_equalising_leaves_alone_what_is_read_twice() -> None:
    torch.manual_seed(0)
    module = folded(Tower(), 3, 12, 12)
    x = torch.randn(4, 3, 12, 12)
    before = module(x)
    equalise(module)
    assert torch.allclose(before, module(x), atol=1e-5)


def test_a_recurrent_layer_is_kept_in_float32_by_its_name() -> None:
    torch.manual_seed(0)
    module = folded(Gru(), STEPS, INPUTS)
    x = torch.randn(8, STEPS, INPUTS)
    scales = calibrate(module, [x], Ptq(method="ptq", keep_fp32=("layer",)))
    assert [*scales.weights] == ["head"]
    graph = export(fake_quantized(module, scales))
    assert _onnx_arrays(TARGETS["onnx-int8-s8"].convert(graph).data, (SIZE, 3 * SIZE)) <= 1


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_trained_weights_go_back_into_a_recurrent_layer(kind: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r = getattr(nn, kind)(
                INPUTS, SIZE, num_layers=2, bidirectional=True, batch_first=True
            )
            self.cell = nn.LSTMCell(2 * SIZE, SIZE)

        def forward(self, x: Tensor) -> Tensor:
            y, state = self.r(x)[0], None
            for t in range(3):
                state = self.cell(y[:, t], state)
            return state[0]  # type: ignore[index, no-any-return]

    torch.manual_seed(0)
    module = Network().eval()
    x = torch.randn(3, STEPS, INPUTS)
    trained = folded(module, STEPS, INPUTS)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    assert not torch.allclose(module(x), trained(x), atol=1e-3)
    write_layers(module, folded(module, STEPS, INPUTS), trained)
    assert torch.allclose(module(x), trained(x), atol=1e-5)
