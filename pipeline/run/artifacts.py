"""The border: networks become files. What leaves here is bytes and their description."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeticket.device_runner.manifest import Artifact, artifact_fields
from edgeticket.device_runner.manifest import Network as NetworkFacts
from edgeticket.device_runner.strict_json import flat_fields, format_json, to_json
from edgeticket.models.network import Network
from edgeticket.pipeline.convert import Converted
from edgeticket.pipeline.convert.targets import EXPORT_TOOLS, Target, targets_of
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.export import check_export, export
from edgeticket.pipeline.graph.batches import Batch
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.quantize import Scales, fake_quantized, fold_bn
from edgeticket.pipeline.reference.outputs import Reference
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.reference_outputs import (
    load_reference_outputs,
    reference_of,
    save_reference,
)
from edgeticket.pipeline.task.transcripts import choose_separator_bias
from edgeticket.pipeline.train import evaluate, to_torch

Files = list[tuple[Artifact, Converted]]


@dataclass(frozen=True)
class Artifacts:
    """Every artifact with the bytes of its file, and the host's facts by network name."""

    files: tuple[tuple[Artifact, bytes], ...]
    networks: Mapping[str, NetworkFacts]
    separator_bias: float  # of `device_runner.ctc.Decoder`, where speech is transcribed
    references: Mapping[str, Reference]  # by network name
    integer: frozenset[str]  # ids of those in which every value is codes

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the networks' inputs are called: as in the ONNX files."""
        return tuple(spec.name for spec in self.files[0][0].inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the networks' outputs are called."""
        return tuple(spec.name for spec in self.files[0][0].outputs)


def build_artifacts(job: Job, dense: Candidate, ticket: Candidate) -> Artifacts:
    """Export both networks, convert each for every runtime, and score them in torch."""
    networks = {"dense": dense.network}
    if not all(step.keeps_float32 for step in job.recipe.compress):
        networks["ticket"] = ticket.network
    samples = job.recipe.bundle.samples
    also = ("onnx-int8-trt",) if job.recipe.bundle.tensorrt else ()
    result = job.store.stage(
        "artifacts",
        functools.partial(
            write_artifacts,
            networks=networks,
            ticket=ticket,
            data=job.data,
            samples=samples,
            also=also,
        ),
        config={
            "samples": samples,
            "targets": [*targets_of("fp32"), *targets_of("int8", also=also)],
        },
        inputs={"data": job.data.digest, "dense": dense.digest, "ticket": ticket.digest},
        tools=EXPORT_TOOLS,
    )
    return _read(result.folder)


def write_artifacts(
    folder: Path,
    resume: Path,
    *,
    networks: Mapping[str, Network],
    ticket: Candidate,
    data: Dataset,
    samples: int | None,
    also: Collection[str] = (),
) -> None:
    """Write every artifact, and what a manifest says of them, to ``folder``.

    Args:
        networks: those that have float32 files, by name; int8 files have the last one's name.
        ticket: what becomes int8.
        data: the calibration split is exported with, choices are made on validation, and torch
            reads the test split here, once, after all of them.
        samples: how many test examples the bundle carries; None: all.
        also: optional kinds of files (`convert.targets`) that are wanted.
    """
    inputs = to_torch(data.calibration.queries(16)[:16], data.preprocessing)
    carried, bias = _carried(data, ticket, samples)
    files: Files = []
    facts: dict[str, NetworkFacts] = {}
    for name, network in networks.items():
        files += _float_files(name, network, inputs)
        facts[name] = _facts(network, carried, data)
        save_reference(folder, name, reference_of(network, carried, data))
    assert ticket.scales is not None  # a recipe ends with the pass that decides them
    files += _int8_files(list(networks)[-1], ticket.network, ticket.scales, inputs, also)
    for artifact, content in files:
        (folder / Path(artifact.file).name).write_bytes(content.data)
    description = {
        "artifacts": to_json([artifact for artifact, _ in files]),
        "integer": [artifact.id for artifact, content in files if content.integer],
        "networks": to_json(facts),
        "separator_bias": bias,
    }
    (folder / "description.json").write_bytes(format_json(description))


def _carried(data: Dataset, ticket: Candidate, samples: int | None) -> tuple[Split, float]:
    """The test examples that the bundle carries, and the bias that texts of them are read with.

    The bias is a choice like any other, so it is made on validation.
    """
    carried = data.test.take(np.arange(len(data.test))[:samples])
    if data.chunks is None:
        return carried, 0.0
    split = data.validation
    evaluation = evaluate(ticket.network.module(), split, preprocessing=data.preprocessing)
    bias = choose_separator_bias(evaluation.outputs, split)
    return carried.with_separator_bias(bias), bias


def _facts(network: Network, carried: Split, data: Dataset) -> NetworkFacts:
    parameters, macs = count(network.module(), network.input_shapes)
    tested = evaluate(network.module(), carried, preprocessing=data.preprocessing)
    return NetworkFacts(parameters=parameters, macs=macs, scores=tested.scores)


def _float_files(name: str, network: Network, inputs: Batch) -> Files:
    module = fold_bn(network.module(), network.input_shapes)
    graph = export(module)
    check_export(graph, module, inputs)
    return _converted(name, graph, targets_of("fp32"))


def _int8_files(
    name: str, network: Network, scales: Scales, inputs: Batch, also: Collection[str]
) -> Files:
    module = fake_quantized(fold_bn(network.module(), network.input_shapes), scales)
    graph = export(module)
    files = _converted(name, graph, targets_of("int8", also=also))
    # A last layer in float32 has no codes, and what adds up before it is no fixed number.
    is_float = any(graph.values[output].quantization is None for output in graph.outputs)
    check_export(graph, module, inputs, tolerance=0.05 if is_float else 1e-4)
    return files


def _converted(name: str, graph: Graph, targets: Mapping[str, Target]) -> Files:
    files: Files = []
    for kind, target in targets.items():
        converted = target.convert(graph)
        artifact = target.artifact(converted, id=f"{name}-{kind}", network=name)
        files.append((artifact, converted))
    return files


def _read(folder: Path) -> Artifacts:
    """What `write_artifacts` wrote."""
    described: dict[str, Any] = json.loads((folder / "description.json").read_bytes())
    artifacts = [Artifact(**artifact_fields(entry)) for entry in described["artifacts"]]
    return Artifacts(
        tuple((a, (folder / Path(a.file).name).read_bytes()) for a in artifacts),
        {name: _network_facts(fact) for name, fact in described["networks"].items()},
        described["separator_bias"],
        {name: load_reference_outputs(folder, name) for name in described["networks"]},
        frozenset(described["integer"]),
    )


def _network_facts(described: Mapping[str, Any]) -> NetworkFacts:
    plain = flat_fields(described)
    return NetworkFacts(**{**plain, "scores": flat_fields(described["scores"])})
