"""A bundle with ResNet-20 in int8, as the pipeline makes it, for comparing two machines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diff_fixtures import tensor_spec

from edgeticket.device_runner.manifest import Artifact, Network
from edgeticket.models import build
from edgeticket.pipeline.bundle import StoredInput, write_bundle
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.export import export
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

CLASSES = 10
SAMPLES = 128
STEPS = ({"op": "normalize", "mean": [127.5] * 3, "std": [64.0] * 3},)


def write_resnet_bundle(folder: Path) -> Path:
    """Weights are random, and so are the images: equal arithmetic does not ask what they mean."""
    torch.manual_seed(3)
    network = build("resnet20", {}).eval()
    rng = np.random.default_rng(4)
    # Large patches, so that activations differ from image to image as real ones do.
    patches = rng.integers(0, 256, (SAMPLES, 8, 8, 3)).astype(np.uint8)
    images = patches.repeat(4, axis=1).repeat(4, axis=2)
    values = torch.from_numpy((images.astype(np.float32) - 127.5) / 64).permute(0, 3, 1, 2)
    folded = fold_bn(network, (3, 32, 32))
    scales = calibrate(folded, [values.contiguous()], Ptq(method="ptq"))
    graph = prepare(export(fake_quantized(folded, scales)))
    kinds = {
        "onnx-int8-s8": ("ort", write_onnx(graph, unsigned=False), ("aarch64",)),
        "onnx-int8-u8": ("ort", write_onnx(graph, unsigned=True), ("x86_64",)),
        "tflite-int8": ("tflite", write_tflite(graph), ("aarch64", "x86_64")),
    }
    artifacts = []
    for name, (runtime, data, architectures) in kinds.items():
        unsigned, lite = name.endswith("u8"), runtime == "tflite"
        artifact = Artifact(
            id=name,
            file=f"artifacts/{name}.{'tflite' if lite else 'onnx'}",
            network="resnet20",
            role="deploy",
            runtime=runtime,
            precision="int8",
            architectures=architectures,
            exact_with=(),
            inputs=(tensor_spec(graph, "input", last=lite, unsigned=unsigned),),
            outputs=(tensor_spec(graph, "output", last=lite, unsigned=unsigned),),
        )
        artifacts.append((artifact, data))
    folder.mkdir(parents=True)
    write_bundle(
        folder,
        name="resnet20",
        artifacts=artifacts,
        inputs=[StoredInput("input", images, (), STEPS)],
        targets=rng.integers(0, CLASSES, SAMPLES),
        dataset="patches",
        labels=[str(i) for i in range(CLASSES)],
        networks={"resnet20": Network(parameters=1, macs=1, scores={})},
        provenance={},
        integer=tuple(kinds),
    )
    return folder
