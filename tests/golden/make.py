"""Write the golden files anew, after a deliberate change of a format:

PYTHONPATH=tests/fixtures python tests/golden/make.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from runner_fixtures import (
    example_report,
    layer_report,
    probe_report,
    sustained_report,
    tiny_files,
    tiny_manifest,
)
from speech_fixtures import speech_manifest, speech_report
from task_goldens import task_manifest, task_report, task_targets
from ticket_fixtures import example
from torch import nn

from edgeticket.device_runner.layers.report import write_layers
from edgeticket.device_runner.manifest import write_manifest
from edgeticket.device_runner.probes.report import write_probes
from edgeticket.device_runner.report import write_report
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq
from edgeticket.pipeline.tickets.file import encode

FOLDER = Path(__file__).parent


def converted_name(kind: str) -> str:
    """Converter -> name of its golden file."""
    return f"{kind}.{'onnx' if kind.startswith('onnx') else 'tflite'}"


def main() -> None:
    """Everything in this folder but this file and the ONNX files that others wrote."""
    (FOLDER / "manifest.json").write_bytes(write_manifest(tiny_manifest(tiny_files())))
    write_report(example_report(), FOLDER / "report.json")
    write_report(sustained_report(), FOLDER / "report-sustained.json")
    write_probes(probe_report(), FOLDER / "probes.json")
    write_layers(layer_report(), FOLDER / "layers.json")
    (FOLDER / "manifest-speech.json").write_bytes(write_manifest(speech_manifest()))
    write_report(speech_report(), FOLDER / "report-speech.json")
    (FOLDER / "manifest-task.json").write_bytes(write_manifest(task_manifest()))
    (FOLDER / "targets.npz").write_bytes(task_targets())
    write_report(task_report(), FOLDER / "report-task.json")
    ticket = encode(*example(), init="uniform", init_kept=0.25, seed=7)
    (FOLDER / "strong.ticket").write_bytes(ticket)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    inputs = torch.randn(8, 1, 6, 6)
    folded = fold_bn(network, (1, 6, 6))
    scales = calibrate(folded, [inputs], Ptq(method="ptq"))
    graphs = {"fp32": export(folded), "int8": export(fake_quantized(folded, scales))}
    for kind, target in TARGETS.items():
        data = target.convert(graphs[target.precision]).data
        (FOLDER / converted_name(kind)).write_bytes(data)


if __name__ == "__main__":
    main()
