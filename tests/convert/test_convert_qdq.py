"""Quantised files of other makers become TFLite files with the same scales."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from torch import Tensor, nn
from typer.testing import CliRunner

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.convert import CONVERTERS, Converted
from edgeticket.pipeline.convert.foreign import domains, read_any
from edgeticket.pipeline.graph.fold import fold

Array = npt.NDArray[Any]


class Mixed(nn.Module):
    """Residual addition, concatenation, depthwise, average pool, Gemm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.left = nn.Conv2d(8, 6, 1)
        self.right = nn.Conv2d(8, 6, 3, padding=1)
        self.last = nn.Linear(12 * 2 * 2, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.wide(x) + x)
        x = F.relu(self.depth(x))
        x = torch.cat([F.relu(self.left(x)), self.right(x)], 1)
        x = F.avg_pool2d(x, 3)  # a ninth is never half way between two codes
        logits: Tensor = self.last(torch.flatten(x, 1))
        return logits


class Pooled(nn.Module):
    """A gate, a max pool and an average of the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.wide = nn.Conv2d(8, 12, 3, padding=1)
        self.last = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = x * torch.sigmoid(self.gate(x))
        x = F.max_pool2d(F.relu6(self.wide(x)), 3, stride=2, padding=1)
        logits: Tensor = self.last(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return logits


class Layers(nn.Module):
    """Linear layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 32), nn.Linear(32, 16)
        self.last = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x))))
        logits: Tensor = self.last(x)
        return logits


NETWORKS = {"mixed": (Mixed, (3, 16, 16)), "pooled": (Pooled, (3, 14, 14)), "layers": (Layers, (24,))}


def examples(shape: tuple[int, ...], count: int = 100, seed: int = 5) -> Array:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


@functools.cache
def float_file(name: str) -> bytes:
    """As torch exports it, with an open batch and operator set 13."""
    kind, shape = NETWORKS[name]
    torch.manual_seed(2)
    module = kind().eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            nn.init.normal_(layer.bias, std=0.3)
    return exported(module, shape)


def exported(module: nn.Module, shape: tuple[int, ...], opset: int = 13) -> bytes:
    import io
    import warnings

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, *shape),),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    return file.getvalue()


class Examples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rest = iter(examples(shape, 24, seed=6))

    def get_next(self) -> dict[str, Array] | None:
        x = next(self.rest, None)
        return None if x is None else {"x": x[None]}


@functools.cache
def quantised(
    name: str,
    activations: QuantType,
    weights: QuantType,
    *,
    per_channel: bool = False,
    form: QuantFormat = QuantFormat.QDQ,
    options: tuple[tuple[str, Any], ...] = (),
) -> bytes:
    """What onnxruntime makes of it."""
    import logging
    import tempfile

    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        before.write_bytes(float_file(name))
        quantize_static(
            str(before),
            str(after),
            Examples(NETWORKS[name][1]),
            quant_format=form,
            per_channel=per_channel,
            activation_type=activations,
            weight_type=weights,
            extra_options=dict(options),
        )
        logging.disable(logging.NOTSET)
        return after.read_bytes()


def ort(data: bytes, inputs: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None]})[0] for x in inputs])


def to_codes(x: Array, scale: float, zero_point: int, dtype: str) -> Array:
    limits = np.iinfo(dtype)
    codes = np.clip(np.rint(x / np.float32(scale)) + zero_point, limits.min, limits.max)
    return codes.astype(dtype)


def tflite(converted: Converted, inputs: Array) -> Array:
    """Outputs in the axes of ONNX, as real numbers."""
    interpreter = Interpreter(model_content=converted.data, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    x, y = converted.input, converted.output
    outputs = []
    for one in inputs:
        if one.ndim == 3:
            one = one.transpose(1, 2, 0)
        if x.scale is not None:
            assert x.zero_point is not None
            one = to_codes(one, x.scale, x.zero_point, x.dtype)
        interpreter.set_tensor(source["index"], np.ascontiguousarray(one[None]))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target["index"]).copy())
    result = np.concatenate(outputs)
    if result.ndim == 4:
        result = result.transpose(0, 3, 1, 2)
    if y.scale is None:
        return result
    assert y.zero_point is not None
    return (result.astype(np.float32) - y.zero_point) * np.float32(y.scale)


def convert(data: bytes) -> Converted:
    graph = fold(read_any(data, place="model.onnx"))
    return CONVERTERS["tflite-int8" if graph.is_quantized() else "tflite-fp32"](graph)


def equal_share(data: bytes, shape: tuple[int, ...], count: int = 100) -> float:
    """How many output codes are the same in both runtimes."""
    converted, inputs = convert(data), examples(shape, count)
    assert converted.output.scale is not None
    difference = np.abs(tflite(converted, inputs) - ort(data, inputs)) / converted.output.scale
    assert difference.max() < 3
    return float(np.mean(difference < 0.5))


S8, U8 = QuantType.QInt8, QuantType.QUInt8
SYMMETRIC = (("ActivationSymmetric", True), ("WeightSymmetric", True))


@pytest.mark.parametrize("form", QuantFormat, ids=lambda form: form.name)
@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize(
    ("activations", "weights"), [(S8, S8), (U8, S8), (U8, U8)], ids=["S8S8", "U8S8", "U8U8"]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_codes_are_those_of_onnxruntime(
    name: str, activations: QuantType, weights: QuantType, per_channel: bool, form: QuantFormat
) -> None:
    data = quantised(name, activations, weights, per_channel=per_channel, form=form)
    assert equal_share(data, NETWORKS[name][1]) >= 0.999
