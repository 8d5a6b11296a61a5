"""The same network gives the same files, whether it comes as PyTorch, as .pt2 or as ONNX."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import edgeticket
from edgeticket.pipeline.graph.graph import Graph


class TwoHeads(nn.Module):
    """SiLU as a module and as a function, a residual, a batch norm, upsampling, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU())
        self.wide = nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.back = nn.Conv2d(8, 8, 1)
        self.map = nn.Conv2d(8, 4, 1)
        self.fc = nn.Linear(8, 5)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        x = x + F.silu(self.back(torch.relu(self.norm(self.wide(x)))))
        larger = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.map(larger), self.fc(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 8, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(8 * (1 + bidirectional), 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(x)[0][:, -1])


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "two heads": (TwoHeads, (3, 12, 12)),
    "gru": (Recurrent, (4, 6)),
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    return make().eval(), torch.randn(32, *shape)


def as_pt2(module: nn.Module, inputs: Tensor) -> bytes:
    file = io.BytesIO()
    sizes = ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (inputs[:2],), dynamic_shapes=sizes, strict=False)
    torch.export.save(program, file)
    return file.getvalue()


def as_onnx(module: nn.Module, inputs: Tensor, *, newer: bool, opset: int) -> bytes:
    file = io.BytesIO()
    names = ["map", "fc"] if isinstance(module, TwoHeads) else ["y"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = {"verbose": False} if newer else {}
        torch.onnx.export(
            *(module, (inputs[:1],), file), dynamo=newer, opset_version=opset,
            input_names=["x"], output_names=names, **more,
        )  # fmt: skip
    return file.getvalue()


def artifacts(network: Any, inputs: Tensor) -> tuple[dict[str, bytes], Graph]:
    """Files of all kinds, and the rounded graph."""
    rounded = edgeticket.quantize(network, inputs)
    files = {**edgeticket.convert(rounded.float_graph), **edgeticket.convert(rounded.graph)}
    return {kind: file.data for kind, file in files.items()}, rounded.graph


def nameless(graph: Graph) -> list[Any]:
    """All that a graph says but for names: kinds, attributes, wiring, shapes, scales, numbers."""
    numbers = {name: i for i, name in enumerate(graph.inputs)}
    said: list[Any] = []
    for op in graph.operators:
        constants = [graph.constants[name] for name in op.inputs if name in graph.constants]
        value = graph.values[op.output]
        said.append((op.kind, dict(op.attributes), op.clamp, value.shape, value.quantization))
        said.append([numbers[name] for name in op.inputs if name in numbers])
        said += [
            (c.data.tobytes(), None if c.scale is None else c.scale.tobytes()) for c in constants
        ]
        numbers[op.output] = len(numbers)
    said.append([graph.values[name].quantization for name in graph.inputs])
    return [*said, [numbers[name] for name in graph.outputs]]


@pytest.mark.parametrize("name", NETWORKS)
def test_pt2_gives_the_files_of_the_module(name: str, tmp_path: Path) -> None:
    module, inputs = network(name)
    expected, _ = artifacts(module, inputs)
    data = as_pt2(module, inputs)
    (tmp_path / "network.pt2").write_bytes(data)
    found, _ = artifacts(tmp_path / "network.pt2", inputs)
    assert found == expected
    floats = {kind: file.data for kind, file in edgeticket.convert(data).items()}
    assert floats == {kind: expected[kind] for kind in floats}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("opset", [18, 20])
def test_the_newer_exporter_gives_the_same_files(name: str, opset: int) -> None:
    module, inputs = network(name)
    expected, _ = artifacts(module, inputs)
    found, _ = artifacts(as_onnx(module, inputs, newer=True, opset=opset), inputs)
    assert found == expected


@pytest.mark.parametrize("opset", [13, 15, 17, 20])
def test_the_older_exporter_gives_the_same_files_but_for_names(opset: int) -> None:
    """It does not say which function an operator was of: ``silu`` is Sigmoid and Mul there."""
    module, inputs = network("two heads")
    _, expected = artifacts(module, inputs)
    _, found = artifacts(as_onnx(module, inputs, newer=False, opset=opset), inputs)
    assert nameless(found) == nameless(expected)
    layers = {op.name for op in expected.operators if op.kind in ("Conv", "Gemm")}
    assert layers <= {op.name for op in found.operators}


@pytest.mark.parametrize("opset", [13, 20])
def test_the_older_exporter_gives_the_files_of_a_gru(opset: int) -> None:
    module, inputs = network("gru")
    expected, _ = artifacts(module, inputs)
    found, _ = artifacts(as_onnx(module, inputs, newer=False, opset=opset), inputs)
    assert found == expected


def test_both_directions_of_a_gru() -> None:
    torch.manual_seed(0)
    module, inputs = Recurrent(bidirectional=True).eval(), torch.randn(32, 3, 6)
    _, expected = artifacts(module, inputs)
    _, found = artifacts(as_onnx(module, inputs, newer=False, opset=17), inputs)
    assert nameless(found) == nameless(expected)


def test_a_layer_is_kept_in_float32_by_its_module_and_by_its_node() -> None:
    module, inputs = network("two heads")
    settings: Mapping[str, Any] = {"keep_fp32": ["stem.0"]}
    expected = edgeticket.quantize(module, inputs, settings=settings)
    data = as_onnx(module, inputs, newer=False, opset=17)
    for name in ("stem.0", "/stem/stem.0/Conv", "stem_stem_0_Conv"):
        found = edgeticket.quantize(data, inputs, settings={"keep_fp32": [name]})
        assert nameless(found.graph) == nameless(expected.graph)
    assert np.any([c.scale is not None for c in found.graph.constants.values()])
