"""Networks for boxes, masks, pictures, anomalies and sensors: both runtimes, code by code."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgeticket.device_runner.preprocess import to_tensor
from edgeticket.device_runner.runtimes import RUNTIMES
from edgeticket.models.network import Network
from edgeticket.pipeline.convert import Converted
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.batches import leaves_of
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

Array = npt.NDArray[Any]

# Small, but with every operator that the ready recipes' sizes have.
NETWORKS: dict[str, dict[str, int]] = {
    "cell_detector": {"width": 4, "side": 48, "num_classes": 3},
    "unet": {"width": 4, "side": 16, "depth": 2, "num_classes": 3},
    "anchored_upscaler": {"side": 12, "width": 8},
    "conv_autoencoder": {"width": 4},
    "conv_gru": {"width": 8, "hidden": 8},
}


class Files:
    """A network's files, and inputs [N, ...] for it."""

    def __init__(self, arch: str) -> None:
        network = Network.fresh(arch, NETWORKS[arch], seed=1)
        self.network, module = network, network.module()
        generator = torch.Generator().manual_seed(2)
        self.inputs = torch.randn(48, *network.input_shape, generator=generator)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            module.train()(self.inputs)
        module.eval()
        self.folded = fold_bn(module, network.input_shape)
        scales = calibrate(module, [self.inputs], Ptq(method="ptq"))
        self.rounded = export(fake_quantized(self.folded, scales))
        self.exact = export(self.folded)

    def file(self, kind: str) -> Converted:
        return TARGETS[kind].convert(self.rounded if "int8" in kind else self.exact)

    def answers(self, kind: str) -> list[Array]:
        """Outputs [N, ...], channels first: float32, or int8 codes."""
        file, runtime = self.file(kind), TARGETS[kind].runtime
        names = [spec.name for spec in file.outputs]
        session = RUNTIMES[runtime].load(file.data, threads=1, place=kind, outputs=names)
        stored = np.moveaxis(self.inputs.numpy(), 1, -1)
        taken = to_tensor(stored, file.input)
        rows = [session.query((x[np.newaxis],)) for x in taken]
        found = []
        for spec, parts in zip(file.outputs, zip(*rows, strict=True), strict=True):
            whole = np.concatenate(parts)
            if spec.layout in ("NHWC", "NWC"):
                whole = np.moveaxis(whole, -1, 1)
            if whole.dtype == np.uint8:
                whole = (whole.astype(np.int32) - 128).astype(np.int8)
            found.append(whole)
        return found


@functools.cache
def files(arch: str) -> Files:
    return Files(arch)


@pytest.mark.parametrize("arch", NETWORKS)
@pytest.mark.parametrize("kind", ["onnx-fp32", "tflite-fp32"])
def test_float_files_do_what_torch_does(arch: str, kind: str) -> None:
    network = files(arch)
    with torch.inference_mode():
        expected = leaves_of(network.folded(network.inputs))
    found = network.answers(kind)
    assert len(found) == len(expected)
    for wanted, given in zip(expected, found, strict=True):
        tolerance = 1e-4 * max(1.0, float(wanted.abs().max()))
        np.testing.assert_allclose(given, wanted.numpy(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("arch", NETWORKS)
def test_int8_files_give_the_same_codes(arch: str) -> None:
    network = files(arch)
    signed, unsigned, tflite = (
        network.answers(kind) for kind in ("onnx-int8-s8", "onnx-int8-u8", "tflite-int8")
    )
    for first, second, third in zip(signed, unsigned, tflite, strict=True):
        assert first.dtype == np.int8
        assert len(np.unique(first)) > 20  # they say something
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)


# Layers whose channels are outputs, or hidden units.
STAY = {
    "cell_detector": {"scores", "sides"},
    "unet": {"classes"},
    "anchored_upscaler": {"details"},
    "conv_autoencoder": {"decoder.9"},
    "conv_gru": {"gru", "classifier"},
}


@pytest.mark.parametrize("arch", NETWORKS)
def test_all_inner_channels_can_go(arch: str) -> None:
    network = files(arch).network
    module = network.module()
    written = {layer for g in find_groups(module, network.input_shape) for layer in g.producers}
    layers = {
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.GRU)
    }
    assert layers - written == STAY[arch]
