"""A small network with every kind of layer as a bundle, and errors to plant into its files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from device_runner.manifest import Artifact, Network, TensorSpec
from pipeline.bundle import write_bundle
from pipeline.convert.graph import Constant, Graph
from pipeline.convert.onnx_file import write_onnx
from pipeline.convert.read import read_graph
from pipeline.convert.tflite_file import write_tflite
from pipeline.export import export_onnx
from pipeline.quantize import calibrate, fake_quantized, fold_bn
from pipeline.recipe import Ptq
from pipeline.torch_reference import TorchReference

Plant = Callable[[Graph], Graph]

STEPS = ({"op": "normalize", "mean": [127.5] * 3, "std": [64.0] * 3},)


class Small(nn.Module):
    """Convolutions of several kinds, an addition, a pool, and a map that is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.point = nn.Conv2d(8, 12, 1)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(12 * 2 * 2, 16)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.wide(x) + x)
        x = F.relu6(self.depth(x))
        x = self.pool(self.point(x))
        x = torch.relu(self.hidden(torch.flatten(x, 1)))
        logits: Tensor = self.last(x)
        return logits


def images(count: int = 12) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)


@functools.cache
def network() -> Small:
    torch.manual_seed(1)
    module = Small().eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            nn.init.normal_(layer.bias, std=0.3)
    return module


@functools.cache
def references() -> dict[str, TorchReference]:
    """Precision -> the torch network."""
    x = torch.from_numpy((images().astype(np.float32) - 127.5) / 64).permute(0, 3, 1, 2)
    scales = calibrate(network(), [x.contiguous()], Ptq(method="ptq"))
    return {
        "fp32": TorchReference(fold_bn(network()), title="torch"),
        "int8": TorchReference(fake_quantized(network(), scales), title="fake-quantised"),
    }


@functools.cache
def graph(precision: str) -> Graph:
    module = references()[precision]._module
    return read_graph(export_onnx(module, torch.zeros(1, 3, 8, 8)))


def write_small_bundle(folder: Path, planted: Mapping[str, Plant] | None = None) -> Path:
    """A bundle whose artifacts named in ``planted`` hold an error."""
    artifacts = []
    for name in ("ort-int8", "tflite-int8", "ort-fp32", "tflite-fp32"):
        runtime, precision = name.split("-")
        source = graph(precision)
        if planted and name in planted:
            source = planted[name](source)
        lite = runtime == "tflite"
        unsigned = name == "ort-int8"
        data = write_tflite(source) if lite else write_onnx(source, unsigned=unsigned)
        ends = [
            tensor_spec(source, end, last=lite, unsigned=unsigned) for end in ("input", "output")
        ]
        artifact = Artifact(
            id=name,
            file=f"artifacts/{name}.{'onnx' if runtime == 'ort' else 'tflite'}",
            network="small",
            role="deploy",
            runtime=runtime,
            precision=precision,
            architectures=("x86_64", "aarch64"),
            exact_with=(),
            input=ends[0],
            output=ends[1],
        )
        artifacts.append((artifact, data))
    folder.mkdir(exist_ok=True)
    write_bundle(
        folder,
        name="small",
        artifacts=artifacts,
        inputs=images(),
        targets=np.zeros(len(images()), np.int64),
        dataset="noise",
        labels=list("abcde"),
        preprocessing=STEPS,
        networks={"small": Network(parameters=1, macs=1, scores={})},
        provenance={},
    )
    return folder


def tensor_spec(source: Graph, name: str, *, last: bool, unsigned: bool) -> TensorSpec:
    value = source.values[name]
    shape, q = value.shape, value.quantization
    is_map = len(shape) == 4
    return TensorSpec(
        name=name,
        shape=(1, *shape[2:], shape[1]) if is_map and last else shape,
        dtype="float32" if q is None else "uint8" if unsigned else "int8",
        layout="NC" if not is_map else "NHWC" if last else "NCHW",
        scale=None if q is None else float(q.scale),
        zero_point=None if q is None else q.zero_point + 128 * unsigned,
    )


def wrong_weight_scale(layer: str) -> Plant:
    """One layer's weights are worth 10 % more than they should be."""

    def change(weight: Constant) -> Constant:
        if weight.scale is None:
            return replace(weight, data=weight.data * np.float32(1.1))
        return replace(weight, scale=weight.scale * np.float32(1.1))

    return lambda g: _with_weight(g, layer, change)


def transposed_kernel(layer: str) -> Plant:
    """Height and width of one layer's kernel have changed places."""
    return lambda g: _with_weight(
        g, layer, lambda w: replace(w, data=np.ascontiguousarray(w.data.swapaxes(2, 3)))
    )


def dropped_bias(layer: str) -> Plant:
    """One layer has lost its bias."""

    def plant(g: Graph) -> Graph:
        operators = tuple(
            replace(op, inputs=op.inputs[:2]) if op.name == layer else op for op in g.operators
        )
        assert operators != g.operators
        return replace(g, operators=operators)

    return plant


def wrong_output_scale(layer: str) -> Plant:
    """A code of one layer's output is worth 10 % more than it should be."""

    def plant(g: Graph) -> Graph:
        (output,) = (op.output for op in g.operators if op.name == layer)
        q = g.values[output].quantization
        assert q is not None
        wrong = replace(q, scale=np.float32(q.scale * np.float32(1.1)))
        value = replace(g.values[output], quantization=wrong)
        return replace(g, values={**g.values, output: value})

    return plant


def _with_weight(g: Graph, layer: str, change: Callable[[Constant], Constant]) -> Graph:
    (name,) = (op.inputs[1] for op in g.operators if op.name == layer)
    return replace(g, constants={**g.constants, name: change(g.constants[name])})
