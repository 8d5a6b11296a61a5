"""A bundle with ResNet-20 in int8, as the pipeline makes it, for comparing two machines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from int8_files import write_int8_files

from edgeticket.device_runner.manifest import Network
from edgeticket.models import build
from edgeticket.pipeline.bundle import StoredInput, write_bundle

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
    artifacts = write_int8_files(network, [values.contiguous()], name="resnet20")
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
        integer=tuple(artifact.id for artifact, _ in artifacts),
    )
    return folder
