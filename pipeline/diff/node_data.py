"""Numbers on the graph: what Model Explorer shows over a file's nodes, as its JSON has it.

Format: `GraphNodeData` of node_data_builder.py, google-ai-edge/model-explorer: ``results`` by the
name of a node's output tensor, and a ``gradient`` of colours from the lowest value to the highest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers.report import LayerReport
from edgeticket.pipeline.diff.result import ArtifactDiff, Diff

GRADIENT = (
    {"stop": 0, "bgColor": "#ffffff", "textColor": "#000000"},
    {"stop": 1, "bgColor": "#c2410c", "textColor": "#ffffff"},
)


def format_node_data(values: Mapping[str, float]) -> bytes:
    """A number for each tensor -> a file that Model Explorer reads. What is not finite is left out,
    as JSON cannot say it."""
    results = {name: {"value": value} for name, value in values.items() if math.isfinite(value)}
    document = {"results": results, "gradient": list(GRADIENT)}
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def errors_of(artifact: ArtifactDiff) -> dict[str, float]:
    """The mean of each layer's own difference: in LSB of codes, in real numbers of float32."""
    return {layer.value: layer.own.mean for layer in artifact.layers}


def times_of(report: LayerReport) -> dict[str, float]:
    """Microseconds of each layer."""
    return {layer.name: layer.time_ns / 1e3 for layer in report.layers}


def files_of_diff(diff: Diff, file: Path) -> dict[Path, bytes]:
    """The file of each artifact, for it is one graph: ``file``, where there are several with the
    artifact's id before the ending."""
    ids = [artifact.artifact for artifact in diff.artifacts]
    if len(set(ids)) < len(ids):
        raise InputError("--node-data is of one machine's artifacts: give --taps of one device")
    one = len(ids) == 1
    return {
        file if one else file.with_name(f"{file.stem}.{artifact.artifact}{file.suffix}"):
        format_node_data(errors_of(artifact))
        for artifact in diff.artifacts
    }  # fmt: skip


def is_node_data(data: bytes) -> bool:
    """Whether ``data`` is a file of this kind, which a newer one may take the place of."""
    try:
        document = json.loads(data)
    except ValueError:
        return False
    return isinstance(document, dict) and set(document) == {"results", "gradient"}
