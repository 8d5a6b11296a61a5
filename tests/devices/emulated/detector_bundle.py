"""A bundle with a detector in int8, whose targets are what it finds itself in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from int8_files import write_int8_files
from torch import nn

from edgeticket.device_runner.manifest import Network, Task
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.task.boxes.detections import Detections, detect
from edgeticket.device_runner.task.boxes.settings import BoxesSettings
from edgeticket.models.cell_detector import CellDetector
from edgeticket.pipeline.bundle import StoredInput, write_bundle
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.reference.outputs import Reference

PICTURES = 8
SIDE, CLASSES = 48, 3
STEPS = ({"op": "normalize", "mean": [127.5], "std": [64.0]},)
SETTINGS = {
    "input": [SIDE, SIDE],
    "layout": "first",
    "scores": {"outputs": [0], "count": CLASSES},
    "boxes": {"outputs": [1], "count": 4},
    "decode": {"kind": "centres", "coding": "ltrb", "strides": [8]},
    "activation": "sigmoid",
}


def write_detector_bundle(folder: Path) -> Path:
    """Random weights and pictures, so that two maps of codes become many boxes on either side."""
    torch.manual_seed(5)
    network = CellDetector(num_classes=CLASSES, side=SIDE, width=4).eval()
    for layer in network.modules():  # as they begin, nothing of a picture is left at the end
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    assert network.scores.bias is not None
    nn.init.zeros_(network.scores.bias)
    nn.init.normal_(network.scores.weight, std=2.0)
    nn.init.normal_(network.sides.weight, std=0.5)
    patches = np.random.default_rng(6).integers(0, 256, (PICTURES, 6, 6, 1)).astype(np.uint8)
    pictures = patches.repeat(8, axis=1).repeat(8, axis=2)
    values = torch.from_numpy((pictures.astype(np.float32) - 127.5) / 64).permute(0, 3, 1, 2)
    values = values.contiguous()
    with torch.no_grad():
        outputs = tuple(output.numpy() for output in network(values))
    settings = BoxesSettings.from_json(SETTINGS)
    found = [one.above(0.5) for one in detect(outputs, settings)]
    folder.mkdir(parents=True)
    write_bundle(
        folder,
        name="detector",
        artifacts=write_int8_files(network, [values], name="detector"),
        inputs=[StoredInput("input", pictures, (), STEPS)],
        targets=_targets(found, settings),
        dataset="patches",
        labels=[str(i) for i in range(CLASSES)],
        networks={"detector": Network(parameters=1, macs=1, scores={})},
        provenance={},
        outputs=("scores", "sides"),
        references={"detector": Reference("torch", outputs)},
    )
    return folder


def _targets(found: list[Detections], settings: BoxesSettings) -> Targets:
    wide = [((one.box[:, 2:] - one.box[:, :2]) > 1).all(axis=1) for one in found]
    arrays = {
        "sample": np.repeat(np.arange(PICTURES), [int(kept.sum()) for kept in wide]),
        "box": np.concatenate([d.box[k] for d, k in zip(found, wide, strict=True)]),
        "label": np.concatenate([d.label[k] for d, k in zip(found, wide, strict=True)]),
    }
    return Targets(Task("boxes", to_json(settings)), arrays, PICTURES)
