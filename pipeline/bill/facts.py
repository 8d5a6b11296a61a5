"""What bill and card say, gathered once: a bundle, the data it was made with, its reports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.bill.licences import Tool, look_up
from edgeticket.pipeline.bill.metrics import Metric, metrics_of, torch_metrics
from edgeticket.pipeline.store import canonical_json

ARCHITECTURES = ("arch", "torchvision", "timm", "import", "onnx", "pt2")  # of a recipe's model


@dataclass(frozen=True)
class DataFacts:
    """The data of a run: SHA-256 of all that it could see of them, and how many examples each
    split has."""

    digest: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Step:
    """One step that made the network, in words."""

    name: str
    says: str


@dataclass(frozen=True)
class Facts:
    """``manifest`` is as the bundle has it: its strings are foreign. All others are plain."""

    manifest: Manifest
    manifest_bytes: int
    digest: str  # SHA-256 of manifest.json, and through it of every file
    data: DataFacts | None  # None: files that other tools made, whose training data nobody knows
    architecture: str | None
    recipe_sha256: str | None
    seed: int | None
    steps: tuple[Step, ...]
    budgets: tuple[str, ...]
    tools: tuple[Tool, ...]
    torch_metrics: tuple[Metric, ...]  # of the networks, before they became files
    metrics: tuple[Metric, ...]  # of the artifacts
    machines: tuple[str, ...]  # that measured
    limits: tuple[str, ...]


def gather_facts(
    bundle: Path, *, data: DataFacts | None = None, reports: Sequence[Report] = ()
) -> Facts:
    """A bundle, and what was measured of it -> what bill and card say.

    Times, and whether they are valid, are left out: they belong to a board and a day, and reports
    have them.

    Args:
        bundle: folder or .zip.
        data: what it was trained with; None: it is not known.
        reports: of this bundle; others are passed over.

    Raises:
        InputError: the bundle cannot be read.
    """
    with open_bundle(bundle) as opened:
        manifest, digest = opened.manifest, opened.digest
        manifest_bytes = len(opened.manifest_bytes)
    provenance = manifest.provenance
    recipe = _mapping(provenance.get("recipe"))
    order = [artifact.id for artifact in manifest.artifacts]
    fitting = sorted(
        (report for report in reports if report.bundle.digest == digest),
        key=lambda report: order.index(report.artifact.id),
    )
    seed = recipe.get("seed")
    return Facts(
        manifest=manifest,
        manifest_bytes=manifest_bytes,
        digest=digest,
        data=data,
        architecture=_architecture(_mapping(recipe.get("model"))),
        recipe_sha256=hashlib.sha256(canonical_json(recipe)).hexdigest() if recipe else None,
        seed=seed if isinstance(seed, int) else None,
        steps=tuple(_steps(provenance.get("steps"))),
        budgets=tuple(_budgets(recipe, manifest)),
        tools=tuple(
            look_up(str(name), str(version))
            for name, version in sorted(_mapping(provenance.get("tools")).items())
        ),
        torch_metrics=tuple(torch_metrics(manifest.networks)),
        metrics=tuple(metrics_of(fitting)),
        machines=tuple(dict.fromkeys(_machine(report) for report in fitting)),
        limits=tuple(_limits(manifest, data, measured=bool(fitting))),
    )


def _architecture(model: Mapping[str, Any]) -> str | None:
    for key in ARCHITECTURES:
        if model.get(key):
            arguments = ", ".join(f"{k}={v}" for k, v in _mapping(model.get("args")).items())
            return plain(f"{Path(str(model[key])).name}{f' ({arguments})' * bool(arguments)}")
    return None


def _steps(log: object) -> list[Step]:
    """What each step left, with the first figure that it was judged by."""
    steps = []
    for entry in log if isinstance(log, list | tuple) else ():
        if not isinstance(entry, Mapping):
            continue
        says = [
            f"{entry[key]:,} {word}"
            for key, word in (("parameters", "parameters"), ("macs", "multiply-accumulates"))
            if isinstance(entry.get(key), int)
        ]
        judged = [
            f"{key.removeprefix('validation_')} on validation {value:.4g}"
            for key, value in entry.items()
            if str(key).startswith("validation_") and isinstance(value, int | float)
        ]
        steps.append(Step(plain(str(entry.get("step"))), plain(", ".join([*says, *judged[:1]]))))
    return steps


def _budgets(recipe: Mapping[str, Any], manifest: Manifest) -> list[str]:
    budgets = []
    compress = recipe.get("compress")
    for step in compress if isinstance(compress, list | tuple) else ():
        for name, share in _mapping(_mapping(step).get("budget")).items():
            if share is not None:
                budgets.append(plain(f"{_mapping(step).get('method')}: {name} {share}"))
    if manifest.proof is not None and manifest.proof.max_p90_ns is not None:
        p90_ms = manifest.proof.max_p90_ns / 1e6
        budgets.append(f"latency: nine of ten inferences within {p90_ms:g} ms")
    return budgets


def _limits(manifest: Manifest, data: DataFacts | None, *, measured: bool) -> list[str]:
    samples = manifest.samples
    limits = []
    if samples.random is not None:
        limits.append(
            f"The {samples.count} samples of the bundle are random numbers (seed {samples.random}):"
            " nothing is known of accuracy."
        )
    elif manifest.task.name == "nothing" or samples.targets is None:
        limits.append("Nobody knows what is right for the samples: nothing is known of accuracy.")
    else:
        limits.append(
            f"Accuracy is that of {samples.count} samples of the data set named here; nothing is "
            "known of other data, of groups within them, or of fairness."
        )
    if data is None:
        limits.append("Other tools made the files: what they were trained with is unknown here.")
    if not measured:
        limits.append("Nothing was measured when this was written.")
    limits += [
        f"Exact answers of {plain(artifact.id)} need a CPU with one of "
        f"{plain(', '.join(artifact.exact_with))}."
        for artifact in manifest.artifacts
        if artifact.exact_with
    ]
    return [
        *limits,
        "Latency and energy belong to a board: its reports have them.",
        "The licences of network and data are unknown here: nobody stated them.",
    ]


def _machine(report: Report) -> str:
    cpu = "unknown CPU" if isinstance(report.machine.cpu, Unavailable) else report.machine.cpu
    return plain(str(cpu))


def _mapping(value: object) -> Mapping[str, Any]:
    """What free JSON has there, if it is an object."""
    return value if isinstance(value, Mapping) else {}
