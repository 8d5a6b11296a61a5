"""From torch to ONNX bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import check_onnx, export_onnx
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq


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


@pytest.fixture(scope="module")
def rounded() -> tuple[nn.Module, bytes]:
    module = fake_quantized(network(), calibrate(network(), [images()], Ptq(method="ptq")))
    return module, export_onnx(module, images(1))


def test_the_same_module_gives_the_same_bytes(rounded: tuple[nn.Module, bytes]) -> None:
    module, data = rounded
    assert export_onnx(copy.deepcopy(module), images(2)[1:]) == data


def test_nothing_but_the_network_is_in_the_file(rounded: tuple[nn.Module, bytes]) -> None:
    _, data = rounded
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
    model = onnx.load_from_string(export_onnx(fold_bn(network()), images(1)))
    assert [node.name for node in model.graph.node] == ["_0", "_2", "_3", "_4", "_5"]
    assert [node.output[0] for node in model.graph.node] == ["_0", "_2", "_3", "_4", "output"]
    assert [value.name for value in model.graph.input] == ["input"]


def test_the_exporter_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    export_onnx(fold_bn(network()), images(1))
    assert capfd.readouterr() == ("", "")


def test_outputs_are_compared_with_torch(rounded: tuple[nn.Module, bytes]) -> None:
    module = fold_bn(network())
    data = export_onnx(module, images(1))
    assert check_onnx(data, module, images()) < 1e-6
    broken = copy.deepcopy(module)
    with torch.no_grad():
        broken.get_submodule("_5").bias[2] += 0.01
    with pytest.raises(InputError, match=r"the exported ONNX differs from torch by 0\.0"):
        check_onnx(data, broken, images())
    check_onnx(rounded[1], rounded[0], images(), tolerance=0.02)


def test_a_training_network_is_not_exported() -> None:
    with pytest.raises(InputError, match="evaluation mode"):
        export_onnx(network().train(), images(1))


def test_what_the_exporter_cannot_do_is_an_input_error() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"Branch cannot be exported to ONNX: .") as caught:
        export_onnx(Branch().eval(), images(1))
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

    module = Flat().eval()
    int8 = fake_quantized(module, calibrate(module, [images()], Ptq(method="ptq")))
    converted = TARGETS["tflite-int8"].convert(export_onnx(int8, images(1)))
    assert converted.output.shape == (1, 4)
