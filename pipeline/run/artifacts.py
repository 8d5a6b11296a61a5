"""The border: networks become files. What leaves here is bytes and their description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeticket.device_runner.instructions import DOT_PRODUCTS
from edgeticket.device_runner.manifest import Artifact, artifact_fields
from edgeticket.device_runner.manifest import Network as NetworkFacts
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.pipeline.convert import CONVERTERS
from edgeticket.pipeline.export import check_export, export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.quantize import fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.train import evaluate, to_torch
from edgeticket.pipeline.train.transcription import choose_separator_bias

EXPORT_TOOLS = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class Target:
    """For whom a converter's files are meant."""

    runtime: str
    suffix: str
    architectures: tuple[str, ...]
    exact_with: tuple[str, ...] = ()  # see `device_runner.instructions`


_ALL = ("x86_64", "aarch64", "armv7l")

# Without dot-product instructions ONNX Runtime's kernels for uint8 activations saturate on x86.
# ONNX Runtime has its fast kernels for uint8 activations on x86 and for int8 ones on ARM, so
# one network gives two files; the scales are the same, the zero points 128 apart.
FP32 = {
    "onnx-fp32": Target("ort", "onnx", _ALL),
    "tflite-fp32": Target("tflite", "tflite", _ALL),
}
INT8 = {
    "onnx-int8-s8": Target("ort", "onnx", ("aarch64", "armv7l")),
    "onnx-int8-u8": Target("ort", "onnx", ("x86_64",), DOT_PRODUCTS),
    "tflite-int8": Target("tflite", "tflite", _ALL),
}


@dataclass(frozen=True)
class Artifacts:
    """Every artifact with the bytes of its file, and the host's facts by network name."""

    files: tuple[tuple[Artifact, bytes], ...]
    networks: Mapping[str, NetworkFacts]
    separator_bias: float  # of `device_runner.ctc.Decoder`, where speech is transcribed


def build_artifacts(job: Job, dense: Candidate, ticket: Candidate) -> Artifacts:
    """Export both networks, convert each for every runtime, and score them in torch."""
    networks = {"dense": dense.network}
    if any(not isinstance(step, Ptq) for step in job.recipe.compress):
        networks["ticket"] = ticket.network
    deployed = list(networks)[-1]

    def write(folder: Path, resume: Path) -> None:
        inputs = to_torch(job.data.calibration.queries(16)[:16], job.data.preprocessing)
        carried = job.data.test.take(np.arange(len(job.data.test))[: job.recipe.bundle.samples])
        bias = 0.0
        if job.data.chunks is not None:
            bias = _separator_bias(job, ticket)
            carried = carried.with_separator_bias(bias)
        artifacts: list[Artifact] = []
        facts: dict[str, NetworkFacts] = {}

        def convert(name: str, kind: str, graph: Graph) -> None:
            target = (FP32 | INT8)[kind]
            converted = CONVERTERS[kind](graph)
            artifact = Artifact(
                id=f"{name}-{kind}",
                file=f"artifacts/{name}-{kind}.{target.suffix}",
                network=name,
                role="deploy" if kind in INT8 else "baseline",
                runtime=target.runtime,
                precision="int8" if kind in INT8 else "fp32",
                architectures=target.architectures,
                exact_with=target.exact_with,
                input=converted.input,
                output=converted.output,
            )
            (folder / Path(artifact.file).name).write_bytes(converted.data)
            artifacts.append(artifact)

        for name, network in networks.items():
            module = fold_bn(network.module(), network.input_shape)
            graph = export(module)
            check_export(graph, module, inputs)
            for kind in FP32:
                convert(name, kind, graph)
            parameters, macs = count(network.module(), network.input_shape)
            # Torch reads the test split here, once, after all choices have been made.
            tested = evaluate(network.module(), carried, preprocessing=job.data.preprocessing)
            facts[name] = NetworkFacts(parameters=parameters, macs=macs, scores=tested.scores)

        assert ticket.scales is not None  # a recipe ends with the pass that decides them
        module = fake_quantized(
            fold_bn(ticket.network.module(), ticket.network.input_shape), ticket.scales
        )
        graph = export(module)
        for kind in INT8:
            convert(deployed, kind, graph)
        # Rounding near half way may differ by a code here and there, and that adds up. A last
        # layer in float32 has no codes.
        output_code = artifacts[-1].output.scale
        check_export(graph, module, inputs, tolerance=4 * output_code if output_code else 0.05)

        description = {
            "artifacts": to_json(artifacts),
            "networks": to_json(facts),
            "separator_bias": bias,
        }
        (folder / "description.json").write_bytes(format_json(description))

    result = job.store.stage(
        "artifacts",
        write,
        config={"samples": job.recipe.bundle.samples, "targets": [*FP32, *INT8]},
        inputs={"data": job.data.digest, "dense": dense.digest, "ticket": ticket.digest},
        code=[
            "edgeticket.pipeline.convert",
            "edgeticket.pipeline.prune.cost",
            "edgeticket.pipeline.export",
            "edgeticket.pipeline.quantize",
            "edgeticket.pipeline.train.evaluation",
            "edgeticket.pipeline.train.transcription",
        ],
        glue=(__name__,),
        tools=EXPORT_TOOLS,
    )
    described: dict[str, Any] = json.loads((result.folder / "description.json").read_bytes())
    artifacts = [Artifact(**artifact_fields(entry)) for entry in described["artifacts"]]
    return Artifacts(
        tuple((a, (result.folder / Path(a.file).name).read_bytes()) for a in artifacts),
        {name: NetworkFacts(**fact) for name, fact in described["networks"].items()},
        described["separator_bias"],
    )


def _separator_bias(job: Job, ticket: Candidate) -> float:
    """A choice like any other, so it is made on validation."""
    split = job.data.validation
    heard = evaluate(ticket.network.module(), split, preprocessing=job.data.preprocessing)
    return choose_separator_bias(heard.outputs, split)
