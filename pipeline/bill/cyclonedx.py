"""Facts as a CycloneDX bill of materials, ECMA-424, version 1.6, as JSON.

Written as data: the library that has CycloneDX's classes has none for model cards. Its validator
holds the result against the schema in tests.
"""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import quote

from edgeticket.device_runner import __version__
from edgeticket.device_runner.bundle import MANIFEST
from edgeticket.device_runner.manifest import Artifact, TensorSpec
from edgeticket.device_runner.plain_text import plain
from edgeticket.pipeline.bill.facts import Facts
from edgeticket.pipeline.bill.licences import UNKNOWN, Licence, Tool, look_up

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
MODEL, DATA = "model", "data"
RUNTIME_PACKAGES = {"ort": "onnxruntime", "tflite": "ai-edge-litert"}
ON_DEVICE = {*RUNTIME_PACKAGES.values(), "numpy"}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:edgeticket:bill-of-materials")


def to_cyclonedx(facts: Facts) -> bytes:
    """Facts -> JSON text, ASCII. Equal facts give equal bytes, serial number included."""
    document: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [_tool(look_up("edgeticket", __version__), ref=None)]},
            "component": _model(facts),
        },
        "components": [
            _data(facts),
            *_files(facts),
            *(_tool(tool, ref=f"tool:{tool.name}") for tool in facts.tools),
        ],
        "dependencies": _dependencies(facts),
    }
    return _format({**document, "serialNumber": serial_number(document)})


def serial_number(document: dict[str, Any]) -> str:
    """A UUID of version 5 out of all else that the bill says, and so of the bundle's digest."""
    rest = {key: value for key, value in document.items() if key != "serialNumber"}
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, _format(rest).decode())}"


def is_bill(data: bytes) -> bool:
    """Whether ``data`` is a bill of ours that nobody changed."""
    try:
        document = json.loads(data)
        return bool(document["serialNumber"] == serial_number(document))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return False


def _format(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    return text.encode() + b"\n"


def _model(facts: Facts) -> dict[str, Any]:
    manifest = facts.manifest
    deployed = [artifact for artifact in manifest.artifacts if artifact.role == "deploy"]
    ends = (deployed or manifest.artifacts)[0]
    parameters: dict[str, Any] = {
        "task": plain(manifest.task.name),
        "datasets": [{"ref": DATA}],
        "inputs": [{"format": _tensor(spec)} for spec in ends.inputs],
        "outputs": [{"format": _tensor(spec)} for spec in ends.outputs],
    }
    if facts.architecture is not None:
        parameters["modelArchitecture"] = facts.architecture
    card: dict[str, Any] = {
        "modelParameters": parameters,
        "considerations": {"technicalLimitations": list(facts.limits)},
        "properties": _training(facts),
    }
    split = plain(manifest.samples.split)
    metrics = [
        {"type": metric.name, "value": metric.value, "slice": f"{split}; {subject}{metric.subject}"}
        for subject, kind in (
            ("in torch, network ", facts.torch_metrics),
            ("artifact ", facts.metrics),
        )
        for metric in kind
    ]
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return {
        "bom-ref": MODEL,
        "type": "machine-learning-model",
        "name": plain(manifest.name),
        "version": f"sha256:{facts.digest}",
        "licenses": _licences(Licence(UNKNOWN)),
        "modelCard": card,
    }


def _training(facts: Facts) -> list[dict[str, str]]:
    """Recipe, seed, passes and budgets, under names of our own."""
    pairs = [("bundle:sha256", facts.digest)]
    if facts.recipe_sha256 is not None:
        pairs.append(("recipe:sha256", facts.recipe_sha256))
    if facts.seed is not None:
        pairs.append(("seed", str(facts.seed)))
    pairs += [(f"step:{i}", f"{one.name}: {one.says}") for i, one in enumerate(facts.steps)]
    pairs += [("budget", budget) for budget in facts.budgets]
    pairs += [("measured-on", machine) for machine in facts.machines]
    for name, network in facts.manifest.networks.items():
        for what in ("parameters", "macs"):
            value = getattr(network, what)
            pairs.append((f"network:{what}", f"{plain(name)}: {_number(value)}"))
    return _properties(pairs)


def _data(facts: Facts) -> dict[str, Any]:
    samples = facts.manifest.samples
    pairs = [(f"bundled:{samples.split}", str(samples.count))]
    if facts.data is not None:
        pairs += [("data:sha256", facts.data.digest)]
        pairs += [(f"split:{name}", str(count)) for name, count in facts.data.counts.items()]
    if samples.random is not None:
        pairs.append(("random-seed", str(samples.random)))
    return {
        "bom-ref": DATA,
        "type": "data",
        "name": plain(samples.dataset) or UNKNOWN,
        "scope": "excluded",  # of all of it no more than the test samples is in the bundle
        "licenses": _licences(Licence(UNKNOWN)),
        "data": [{"type": "dataset", "name": plain(samples.dataset) or UNKNOWN}],
        "properties": _properties(pairs),
    }


def _files(facts: Facts) -> list[dict[str, Any]]:
    """Every file of the bundle, the manifest too."""
    artifacts = {artifact.file: artifact for artifact in facts.manifest.artifacts}
    components = [_file(MANIFEST, facts.digest, facts.manifest_bytes, kind="file", pairs=[])]
    for entry in facts.manifest.files:
        artifact = artifacts.get(entry.path)
        pairs = [] if artifact is None else _of_artifact(artifact)
        kind = "data" if artifact is None else "machine-learning-model"
        components.append(_file(entry.path, entry.sha256, entry.size_bytes, kind=kind, pairs=pairs))
    return components


def _file(
    path: str, sha256: str, size_bytes: int, *, kind: str, pairs: list[tuple[str, str]]
) -> dict[str, Any]:
    return {
        "bom-ref": f"file:{path}",
        "type": kind,
        "name": path,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        "licenses": _licences(Licence(UNKNOWN)),
        "properties": _properties([("size-bytes", str(size_bytes)), *pairs]),
    }


def _of_artifact(artifact: Artifact) -> list[tuple[str, str]]:
    return [
        ("artifact", artifact.id),
        ("network", artifact.network),
        ("precision", artifact.precision),
        ("role", artifact.role),
        ("runtime", artifact.runtime),
        *(("architecture", architecture) for architecture in artifact.architectures),
    ]


def _tool(tool: Tool, *, ref: str | None) -> dict[str, Any]:
    """A package; what made the files and is not needed to run them is out of scope."""
    component: dict[str, Any] = {
        "type": "library" if ref else "application",
        "name": tool.name,
        "version": tool.version,
        "purl": f"pkg:pypi/{quote(tool.name.lower(), safe='')}@{quote(tool.version, safe='')}",
        "licenses": _licences(tool.licence),
    }
    if ref:
        component |= {
            "bom-ref": ref,
            "scope": "optional" if tool.name in ON_DEVICE else "excluded",
        }
    return component


def _dependencies(facts: Facts) -> list[dict[str, Any]]:
    """The model is its files; an artifact needs its runtime, where the bill names it."""
    files = [f"file:{entry.path}" for entry in facts.manifest.files]
    tools = {tool.name for tool in facts.tools}
    edges = [{"ref": MODEL, "dependsOn": [DATA, f"file:{MANIFEST}", *files]}]
    for artifact in facts.manifest.artifacts:
        package = RUNTIME_PACKAGES.get(artifact.runtime)
        if package in tools:
            edges.append({"ref": f"file:{artifact.file}", "dependsOn": [f"tool:{package}"]})
    return edges


def _licences(licence: Licence) -> list[dict[str, Any]]:
    if licence.is_expression:
        return [{"expression": licence.text, "acknowledgement": "declared"}]
    if licence.text == UNKNOWN:
        return [{"license": {"name": UNKNOWN}}]
    return [{"license": {"name": licence.text, "acknowledgement": "declared"}}]


def _properties(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": f"edgeticket:{plain(name)}", "value": plain(value)} for name, value in pairs]


def _tensor(spec: TensorSpec) -> str:
    return plain(f"{spec.name}: {spec.dtype} {list(spec.shape)} {spec.layout}")


def _number(value: object) -> str:
    return str(value) if isinstance(value, int) else UNKNOWN
