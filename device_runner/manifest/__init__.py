"""manifest.json: what a bundle holds. Format: ``schemas/manifest.schema.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.manifest.checks import (
    CODE_RANGES,
    DTYPES,
    LAYOUTS,
    check_manifest,
    check_path,
    check_tensor,
)
from edgeticket.device_runner.manifest.fields import (
    CLASSES,
    NOTHING,
    TRANSCRIPTS,
    Artifact,
    ArtifactProof,
    FileEntry,
    InputSpec,
    Manifest,
    Network,
    NetworkReferences,
    Proof,
    References,
    Samples,
    Task,
    TensorSpec,
)
from edgeticket.device_runner.manifest.older import OLDEST, manifest_of_today
from edgeticket.device_runner.schema import check_version, load_schema, validate
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.unavailable import Unavailable

__all__ = [
    "CLASSES",
    "CODE_RANGES",
    "DTYPES",
    "LAYOUTS",
    "NOTHING",
    "SCHEMA_VERSION",
    "TRANSCRIPTS",
    "Artifact",
    "ArtifactProof",
    "FileEntry",
    "InputSpec",
    "Manifest",
    "Network",
    "NetworkReferences",
    "Proof",
    "References",
    "Samples",
    "Task",
    "TensorSpec",
    "artifact_fields",
    "check_path",
    "check_tensor",
    "read_manifest",
    "write_manifest",
]

# 2: chunks of recordings, transcripts, scores by name; 3: separator_bias
# 4: parameters and multiply-accumulates may be unavailable
# 5: several inputs and outputs, tasks, reference outputs; 4 is still read
# 6: settings and targets of every task, their scores; the step letterbox
# 7: what `device-runner prove` holds a device to
SCHEMA_VERSION = 7


def read_manifest(data: bytes, *, place: str = "manifest.json") -> Manifest:
    """Bytes of manifest.json -> manifest; one of an earlier version becomes one of today.

    Raises:
        InputError: no strict JSON, not what the schema allows, from a newer edgeticket, or
            parts that contradict one another.
    """
    document = parse_json(data, place=place)
    check_version(document, known=SCHEMA_VERSION, oldest=OLDEST, place=place)
    document = manifest_of_today(document)
    validate(document, load_schema("manifest"), place=place)
    manifest = Manifest(
        schema_version=document["schema_version"],
        name=document["name"],
        files=tuple(FileEntry(**entry) for entry in document["files"]),
        artifacts=tuple(Artifact(**artifact_fields(a)) for a in document["artifacts"]),
        inputs=tuple(InputSpec(**flat_fields(entry)) for entry in document["inputs"]),
        outputs=tuple(document["outputs"]),
        task=Task(**document["task"]),
        labels=tuple(document["labels"]),
        samples=Samples(**document["samples"]),
        networks={name: _network(entry) for name, entry in document["networks"].items()},
        provenance=document["provenance"],
        references=_references(document["references"]),
        proof=_proof(document["proof"]),
        chunks=None if document["chunks"] is None else Chunks(**document["chunks"]),
        separator_bias=float(document["separator_bias"]),
    )
    check_manifest(manifest, place)
    return manifest


def write_manifest(manifest: Manifest) -> bytes:
    """Manifest -> bytes of manifest.json, the same bytes every time.

    Raises:
        InputError: the manifest would be refused when read.
    """
    data = format_json(to_json(manifest))
    read_manifest(data)
    return data


def artifact_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """A validated artifact object -> constructor arguments of ``Artifact``."""
    return {
        **document,
        "architectures": tuple(document["architectures"]),
        "exact_with": tuple(document["exact_with"]),
        "inputs": tuple(map(_tensor, document["inputs"])),
        "outputs": tuple(map(_tensor, document["outputs"])),
    }


def _tensor(document: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(**{**document, "shape": tuple(document["shape"])})


def _network(document: Mapping[str, Any]) -> Network:
    fields = flat_fields(document)
    return Network(**{**fields, "scores": flat_fields(document["scores"])})


def _references(document: Mapping[str, Any] | None) -> References | None:
    if document is None:
        return None
    networks = {
        name: NetworkReferences(**flat_fields(entry))
        for name, entry in document["networks"].items()
    }
    return References(document["count"], document["limit_bytes"], networks)


def _proof(document: Mapping[str, Any] | None) -> Proof | None:
    if document is None:
        return None
    artifacts: dict[str, ArtifactProof | Unavailable] = {}
    for name, entry in document["artifacts"].items():
        is_missing = set(entry) == {"unavailable"}
        artifacts[name] = (
            Unavailable(entry["unavailable"]) if is_missing else ArtifactProof(**flat_fields(entry))
        )
    return Proof(document["queries"], document["max_p90_ns"], artifacts)
