"""Steps as tiny files, and bundles of them that a device's runner can time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeticket.device_runner import __version__
from edgeticket.device_runner.manifest import Artifact, Network
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.bundle import StoredInput, write_bundle
from edgeticket.pipeline.convert import write_ready
from edgeticket.pipeline.convert.targets import EVERYWHERE, TARGETS
from edgeticket.pipeline.errors import ConversionError
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.search.frames import framed, is_framed
from edgeticket.pipeline.search.steps import Step, repeated

TIMES = 4  # that a probe runs its step in a row, where that is possible
NETWORK = "probes"
S8, U8 = TARGETS["onnx-int8-s8"], TARGETS["onnx-int8-u8"]


@dataclass(frozen=True)
class ProbeFile:
    """One file to time: ``times`` runs of a step in a row, or a whole network."""

    artifact: Artifact
    data: bytes

    @property
    def sha256(self) -> str:
        """Of its bytes, by which its time is kept."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def ends(self) -> tuple[int, int]:
        """Numbers of inputs and outputs: one bundle holds files that have equally many."""
        return len(self.artifact.inputs), len(self.artifact.outputs)


def probe_file(graph: Graph, runtime: str, *, architecture: str) -> ProbeFile:
    """A graph that is ready to be written, as a file for a runtime on a kind of machine.

    Args:
        graph: as `convert.prepare.prepare` left it, or a part of such.
        runtime: a key of `device_runner.runtimes.RUNTIMES`.
        architecture: as uname -m says; ONNX Runtime has its fast kernels for uint8 codes on x86.

    Raises:
        ConversionError: the part cannot be written by itself.
    """
    unsigned = runtime == "ort" and architecture in U8.architectures
    written = write_ready(graph, runtime, unsigned=unsigned)
    digest = hashlib.sha256(written.data).hexdigest()
    suffix = "tflite" if runtime == "tflite" else "onnx"
    name = f"{runtime}-{digest[:16]}"
    artifact = Artifact(
        id=name,
        file=f"artifacts/{name}.{suffix}",
        network=NETWORK,
        role="deploy",
        runtime=runtime,
        precision="int8" if graph.is_quantized() else "fp32",
        architectures=tuple(dict.fromkeys((*EVERYWHERE, architecture))),
        exact_with=(),
        inputs=written.inputs,
        outputs=written.outputs,
    )
    return ProbeFile(artifact, written.data)


def step_file(step: Step, runtime: str, *, architecture: str, times: int) -> ProbeFile | str:
    """The file of a step, with layers around it where neighbours matter (`frames`).

    Or why there is none: its graph cannot be written by itself.
    """
    graph = repeated(step, times)
    try:
        graph = framed(graph) if is_framed(step, runtime=runtime) else graph
        return probe_file(graph, runtime, architecture=architecture)
    except ConversionError as error:
        return str(error)


def bundles_of(files: Iterable[ProbeFile], *, most: int, most_bytes: int) -> list[list[ProbeFile]]:
    """Files that fit one bundle, together; each once, ``most`` in a bundle, and so many bytes.

    A file that has more by itself is alone.
    """
    groups: dict[tuple[int, int], dict[str, ProbeFile]] = {}
    for file in files:
        groups.setdefault(file.ends, {})[file.artifact.id] = file
    parts: list[list[ProbeFile]] = []
    for group in groups.values():
        part: list[ProbeFile] = []
        size_bytes = 0
        for file in group.values():
            if part and (len(part) == most or size_bytes + len(file.data) > most_bytes):
                parts.append(part)
                part, size_bytes = [], 0
            part.append(file)
            size_bytes += len(file.data)
        parts.append(part)
    return parts


def write_probe_bundle(folder: Path, files: Sequence[ProbeFile]) -> None:
    """Fill the empty ``folder`` with a bundle of files with equally many inputs and outputs.

    Its samples are a placeholder: whoever times probes draws inputs of the shapes that they take.
    """
    inputs, outputs = files[0].ends
    placeholder = np.zeros((1, 1), np.float32)
    unknown = Unavailable("probes are parts of networks")
    write_bundle(
        folder,
        name="probes",
        artifacts=[(file.artifact, file.data) for file in files],
        inputs=[StoredInput(f"x{i}", placeholder) for i in range(inputs)],
        targets=None,
        outputs=[f"y{i}" for i in range(outputs)],
        dataset="random numbers",
        random=0,
        labels=(),
        networks={NETWORK: Network(parameters=unknown, macs=unknown, scores={})},
        provenance={"made_by": "edgeticket predict", "tools": {"edgeticket": __version__}},
        proven=False,
    )
