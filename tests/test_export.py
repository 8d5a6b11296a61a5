"""From a module of the graph to a graph with its weights, and what the files keep of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import check_export, export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

TAKES = (3, 8, 8)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def folded() -> fx.GraphModule:
    return fold_bn(network(), TAKES)


@pytest.fixture(scope="module")
def rounded() -> tuple[fx.GraphModule, Graph]:
    module = fake_quantized(folded(), calibrate(network(), [images()], Ptq(method="ptq")))
    return module, export(module)


def test_the_same_module_gives_the_same_graph(rounded: tuple[fx.GraphModule, Graph]) -> None:
    module, graph = rounded
    again = export(copy.deepcopy(module))
    assert again.operators == graph.operators
    assert again.values == graph.values
    assert again.constants.keys() == graph.constants.keys()
    for name, constant in graph.constants.items():
        np.testing.assert_array_equal(again.constants[name].data, constant.data)
    for kind in ("onnx-int8-u8", "tflite-int8"):
        assert TARGETS[kind].convert(again).data == TARGETS[kind].convert(graph).data


@pytest.mark.parametrize("kind", ["onnx-fp32", "onnx-int8-s8"])
def test_nothing_but_the_network_is_in_the_file(
    kind: str, rounded: tuple[fx.GraphModule, Graph]
) -> None:
    data = TARGETS[kind].convert(rounded[1] if "int8" in kind else export(folded())).data
    model = onnx.load_from_string(data)
    assert model.ir_version == 10
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    assert b".py" not in data
    assert str(Path(__file__).parent.parent).encode() not in data
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer):
        assert not holder.metadata_props
        assert not holder.doc_string
    assert not model.graph.value_info


def test_values_are_named_after_the_steps_that_made_them() -> None:
    graph = export(folded())
    assert [op.name for op in graph.operators] == ["_0", "_2", "_3", "_4", "_5"]
    assert [op.output for op in graph.operators] == ["_0", "_2", "_3", "_4", "output"]
    assert graph.inputs == ("input",)
    assert graph.outputs == ("output",)
    model = onnx.load_from_string(TARGETS["onnx-fp32"].convert(graph).data)
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["output"]


def test_capturing_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    export(folded())
    assert capfd.readouterr() == ("", "")


def test_outputs_are_compared_with_torch(rounded: tuple[fx.GraphModule, Graph]) -> None:
    module = folded()
    graph = export(module)
    assert check_export(graph, module, images()) < 1e-6
    broken = copy.deepcopy(module)
    with torch.no_grad():
        broken.get_submodule("_5").bias[2] += 0.01
    with pytest.raises(InputError, match=r"the exported ONNX differs from torch by 0\.0"):
        check_export(graph, broken, images())
    output = rounded[1].values["output"].quantization
    assert output is not None
    check_export(rounded[1], rounded[0], images(), tolerance=4 * float(output.scale))


def test_a_file_of_codes_is_compared_in_real_numbers(
    rounded: tuple[fx.GraphModule, Graph],
) -> None:
    module, graph = rounded
    broken = copy.deepcopy(module)
    output = graph.values["output"].quantization
    assert output is not None
    with torch.no_grad():
        broken.get_submodule("_5").layer.bias[2] += 40 * float(output.scale)
    with pytest.raises(InputError, match=r"the exported ONNX differs from torch by "):
        check_export(graph, broken, images(), tolerance=4 * float(output.scale))


def test_few_numbers_of_a_rounded_graph_may_differ_by_more() -> None:
    torch.manual_seed(0)
    folded_module = fold_bn(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Softmax(1)), (1, 40, 40))
    x = torch.randn(2, 1, 40, 40)
    module = fake_quantized(folded_module, calibrate(folded_module, [x], Ptq(method="ptq")))
    graph = export(module)

    class Elsewhere(nn.Module):
        def __init__(self, numbers: int) -> None:
            super().__init__()
            self.numbers = numbers

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = module(x).contiguous()
            found.view(-1)[: self.numbers] += 0.2
            return found

    assert check_export(graph, Elsewhere(1), x, tolerance=0.05) < 0.05
    with pytest.raises(InputError, match=r"the exported ONNX differs from torch by 0\.2"):
        check_export(graph, Elsewhere(10), x, tolerance=0.05)


def test_a_training_network_is_exported_as_it_is_evaluated() -> None:
    training = network().train()
    data = TARGETS["onnx-fp32"].convert(export(fold_bn(training, TAKES))).data
    assert data == TARGETS["onnx-fp32"].convert(export(folded())).data
    assert training.training


def test_what_cannot_be_captured_is_an_input_error() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"Branch cannot be traced \(.") as caught:
        fold_bn(Branch().eval(), TAKES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape(x.shape[0], -1),
    ],
)
def test_reshaping_by_the_batch_size(flatten: Callable[[Tensor], Tensor]) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3 * 8 * 8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(flatten(x))

    module = fold_bn(Flat().eval(), TAKES)
    int8 = fake_quantized(module, calibrate(module, [images()], Ptq(method="ptq")))
    converted = TARGETS["tflite-int8"].convert(export(int8))
    assert converted.output.shape == (1, 4)
