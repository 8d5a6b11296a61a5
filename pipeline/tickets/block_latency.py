"""How long each residual block takes in int8, measured, for a search that counts milliseconds."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.manifest import Network as Facts
from edgeticket.device_runner.report import read_report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.models.network import Network
from edgeticket.pipeline.bundle import StoredInput, write_bundle
from edgeticket.pipeline.convert.targets import int8_target_here
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.devices.local import measure
from edgeticket.pipeline.export import export
from edgeticket.pipeline.prune.cost import count, layer_macs
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import BenchConfig, Ptq
from edgeticket.pipeline.train import to_torch

WHOLE = "whole"
SAMPLES = 8  # images that fix ranges and are carried along; times do not depend on them


@dataclass(frozen=True)
class BlockLatency:
    """Milliseconds, medians of one interleaved session."""

    whole: float
    blocks: Mapping[str, float]  # what the network is faster by without this block, at least 0


def measure_blocks(
    network: Network, data: Dataset, *, runtime: str, bench: BenchConfig
) -> BlockLatency:
    """Measure ``network`` and variants of it without half of the blocks of one shape.

    Blocks whose layers have equal shapes and multiply-accumulates share what their half saves.

    Args:
        network: has removable blocks.
        data: gives images.
        runtime: ort or tflite.
        bench: how to measure.

    Raises:
        InputError: the network cannot be converted; the runtime is not installed.
    """
    shapes = _by_shape(network)
    halves = {f"without-{i}": blocks[::2] for i, blocks in enumerate(shapes)}
    variants = {WHOLE: network, **{name: network.without(gone) for name, gone in halves.items()}}
    with tempfile.TemporaryDirectory(prefix="edgeticket-") as folder:
        bundle, reports = Path(folder) / "bundle", Path(folder) / "reports"
        bundle.mkdir()
        _write(bundle, variants, data, runtime=runtime)
        measure(bundle, reports, bench)
        milliseconds = _medians(reports)
    saved: dict[str, float] = {}
    for (name, gone), blocks in zip(halves.items(), shapes, strict=True):
        each = max(0.0, milliseconds[WHOLE] - milliseconds[name]) / len(gone)
        saved |= dict.fromkeys(blocks, each)
    return BlockLatency(milliseconds[WHOLE], saved)


def _by_shape(network: Network) -> list[list[str]]:
    """The removable blocks, those together that cost the same."""
    module = network.module()
    macs = layer_macs(module, network.input_shapes)
    shapes: dict[object, list[str]] = {}
    for block in models.removable_blocks(module):
        tensors = module.get_submodule(block).state_dict()
        key = (
            tuple((name, tensor.shape) for name, tensor in tensors.items()),
            tuple(n for layer, n in macs.items() if layer.startswith(f"{block}.")),
        )
        shapes.setdefault(key, []).append(block)
    return list(shapes.values())


def _write(bundle: Path, variants: Mapping[str, Network], data: Dataset, *, runtime: str) -> None:
    split = data.calibration
    inputs = to_torch(split.queries(SAMPLES)[:SAMPLES], data.preprocessing)
    target = int8_target_here(runtime)
    artifacts: list[tuple[Artifact, bytes]] = []
    for name, network in variants.items():
        folded = fold_bn(network.module(), network.input_shapes)
        scales = calibrate(folded, [inputs], Ptq(method="ptq"))
        converted = target.convert(export(fake_quantized(folded, scales)))
        artifact = target.artifact(converted, id=name, network=name)
        # Times do not depend on how exact it is.
        artifacts.append((replace(artifact, exact_with=()), converted.data))
    carried = split.carried(SAMPLES)
    write_bundle(
        bundle,
        name="blocks",
        artifacts=artifacts,
        inputs=[
            StoredInput(spec.name, stored, (), data.preprocessing)
            for spec, stored in zip(artifacts[0][0].inputs, carried.inputs, strict=True)
        ],
        outputs=[spec.name for spec in artifacts[0][0].outputs],
        targets=carried.targets,
        chunks=carried.chunks,
        dataset=data.name,
        labels=data.labels,
        networks={name: _facts(network) for name, network in variants.items()},
        provenance={},
        proven=False,
    )


def _facts(network: Network) -> Facts:
    parameters, macs = count(network.module(), network.input_shapes)
    return Facts(parameters=parameters, macs=macs, scores={})


def _medians(reports: Path) -> dict[str, float]:
    """Artifact id -> p50 in milliseconds."""
    medians: dict[str, float] = {}
    for report in map(read_report, sorted(reports.glob("*.json"))):
        p50 = report.latency.p50_ns
        if isinstance(p50, Unavailable):
            raise InputError(f"latency of {report.artifact.id} is unavailable: {p50.reason}")
        medians[report.artifact.id] = p50 / 1e6
    return medians
