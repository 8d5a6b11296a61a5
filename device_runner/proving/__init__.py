"""Does this device still run what was tested? Files, answers, placement, latency.

Nothing is written and nothing is measured at length: this is for boot scripts, for the minute
after an upgrade of a runtime, and for CI.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle, open_bundle
from edgeticket.device_runner.check import check_opened
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import code_of
from edgeticket.device_runner.instructions import warn_inexact
from edgeticket.device_runner.machine import Machine, describe_machine
from edgeticket.device_runner.manifest import Artifact, ArtifactProof
from edgeticket.device_runner.provenance import utc_now, versions
from edgeticket.device_runner.proving.answering import Answers, answer, first_queries
from edgeticket.device_runner.proving.verdicts import (
    FILES,
    LATENCY,
    OUTPUTS,
    PLACEMENT,
    PROVEN,
    REFUSED,
    SCHEMA_VERSION,
    SIGNATURE,
    UNASKED,
    ProofReport,
    ProvenArtifact,
    Step,
)
from edgeticket.device_runner.selection import Selection, select
from edgeticket.device_runner.signing import SignatureError, read_trust
from edgeticket.device_runner.unavailable import Unavailable

__all__ = ["Wanted", "prove"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """What to hold the device to.

    artifacts: ids; none: all that are meant for deployment and can run here.
    runtime: only artifacts for it.
    placement: ask where operators ran.
    max_p90_ns: what an inference may take; None: latency is not looked at.
    budget: take that number from the manifest.
    trust: keys, one of which has to have signed the bundle; None: nobody has to.
    """

    artifacts: tuple[str, ...] = ()
    runtime: str | None = None
    placement: bool = True
    max_p90_ns: int | None = None
    budget: bool = False
    threads: int = 1
    cpu_only: bool = False
    trust: Path | None = None


@dataclass
class _Findings:
    """What was seen so far, and what was not as promised; sentences by step."""

    artifacts: list[ProvenArtifact] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    signer: str = ""  # fingerprint of the key

    def refuse(self, step: str, sentence: str) -> None:
        self.problems.setdefault(step, []).append(sentence)


def prove(path: Path, wanted: Wanted) -> ProofReport:
    """Hold this device to what a bundle promises -> a report, whatever comes of it.

    Raises:
        InputError: there is no such bundle, it promises nothing, or nothing of it can run here.
    """
    started, at = time.perf_counter(), utc_now()
    machine = describe_machine()
    findings = _Findings()
    if not path.exists():
        raise InputError(f"{path} does not exist: give a bundle folder or its .zip")
    name: str | Unavailable = Unavailable("its manifest cannot be read")
    digest, files, limit = name, 0, wanted.max_p90_ns
    keys = () if wanted.trust is None else read_trust(wanted.trust)
    try:
        with open_bundle(path) as bundle:
            name, digest = bundle.manifest.name, bundle.digest
            files = len(bundle.manifest.files)
            if wanted.trust is not None:
                findings.signer = bundle.verify_signature(keys)
            check_opened(bundle, place=str(path))
            golden = _golden(bundle)
    except SignatureError as error:
        findings.refuse(SIGNATURE, str(error))
    except InputError as error:
        findings.refuse(FILES, str(error))
    else:
        with open_bundle(path) as bundle:
            if bundle.digest != digest:
                raise InputError(f"{path} was changed while it was read: prove it again")
            limit = _limit(bundle, wanted)
            _run(bundle, wanted, limit, machine, golden, findings)
    return ProofReport(
        schema_version=SCHEMA_VERSION,
        verdict=REFUSED if findings.problems else PROVEN,
        bundle=name,
        digest=digest,
        steps=_steps(findings, wanted, files=files, limit=limit),
        artifacts=tuple(findings.artifacts),
        skipped=findings.skipped,
        board=machine.board,
        cpu=machine.cpu,
        architecture=machine.architecture,
        at_utc=at,
        duration_s=time.perf_counter() - started,
        versions=versions(),
    )


def _golden(bundle: Bundle) -> dict[str, tuple[Array, ...]]:
    """The answers that are promised, by artifact."""
    proof = bundle.manifest.proof
    promised = {} if proof is None else proof.artifacts
    return {
        name: bundle.golden(name)
        for name, one in promised.items()
        if not isinstance(one, Unavailable)
    }


def _limit(bundle: Bundle, wanted: Wanted) -> int | None:
    proof = bundle.manifest.proof
    if proof is None:
        raise InputError(
            f"{bundle.manifest.name} promises nothing: make the bundle again with this version"
        )
    if not wanted.budget:
        return wanted.max_p90_ns
    if proof.max_p90_ns is None:
        raise InputError(
            f"--budget: {bundle.manifest.name} promises no latency: give --max-p90-ms, or set "
            "bundle.max_p90_ms in the recipe"
        )
    return proof.max_p90_ns


def _run(
    bundle: Bundle,
    wanted: Wanted,
    limit: int | None,
    machine: Machine,
    golden: dict[str, tuple[Array, ...]],
    findings: _Findings,
) -> None:
    """Run what is promised and can run here."""
    proof = bundle.manifest.proof
    assert proof is not None  # see `_limit`
    chosen = _choose(bundle, wanted)
    findings.skipped.update(chosen.skipped)
    inputs = first_queries(bundle, proof.queries)
    for entry in chosen.chosen:
        promise = proof.artifacts.get(entry.id, Unavailable("the manifest says nothing of it"))
        if isinstance(promise, Unavailable):
            findings.skipped[entry.id] = f"nothing is promised of it: {promise.reason}"
            continue
        try:
            found = answer(
                bundle, entry, inputs, architecture=machine.architecture,
                cpu_only=wanted.cpu_only, threads=wanted.threads, timed=limit is not None,
            )  # fmt: skip
        except InputError as error:
            findings.refuse(OUTPUTS, str(error))
            continue
        warning = warn_inexact(entry, bundle.manifest.artifacts, machine)
        _hold_answers(entry, promise, golden[entry.id], found, warning, findings)
        if wanted.placement:
            _hold_placement(entry, promise, found, findings)
        if limit is not None:
            _hold_latency(entry, found, limit, findings)
    if not findings.artifacts and not findings.problems:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in findings.skipped.items())
        raise InputError(f"{bundle.manifest.name} promises nothing that can run here ({reasons})")


def _choose(bundle: Bundle, wanted: Wanted) -> Selection:
    """Files for deployment, unless others are asked for."""
    names: Sequence[str] = wanted.artifacts
    if not names:
        chosen = select(bundle.manifest, runtime=wanted.runtime)
        deployed = tuple(one for one in chosen.chosen if one.role == "deploy")
        return Selection(deployed or chosen.chosen, chosen.skipped)
    return select(bundle.manifest, runtime=wanted.runtime, artifact=names)


def _hold_answers(
    entry: Artifact,
    promise: ArtifactProof,
    golden: Sequence[Array],
    found: Answers,
    warning: str | None,
    findings: _Findings,
) -> None:
    """Compare answers with golden ones, bit for bit where they are exact."""
    alike = [a.shape == b.shape and a.dtype == b.dtype for a, b in zip(golden, found.outputs)]
    count = len(golden[0])
    equal = np.ones(count, np.bool_)
    distances: list[float] = []
    if all(alike):
        for wanted, given in zip(golden, found.outputs):
            rows = given.reshape(count, -1), wanted.reshape(count, -1)
            equal &= (rows[0] == rows[1]).all(axis=1)
            distances.append(float(np.abs(_wide(given) - _wide(wanted)).max(initial=0.0)))
    worst = tuple(distances) if all(alike) else Unavailable("outputs have other shapes or types")
    findings.artifacts.append(
        ProvenArtifact(
            id=entry.id,
            exact=promise.exact,
            queries=count,
            equal=int(equal.sum()) if all(alike) else 0,
            worst=worst,
            tolerances=promise.tolerances,
            golden_by=promise.made_by,
            ran_on=found.made_by,
            placement=found.placement,
            p90_ns=found.p90_ns,
        )
    )
    who = f"golden answers by {promise.made_by}, these by {found.made_by}"
    if isinstance(worst, Unavailable):
        findings.refuse(OUTPUTS, f"{entry.id}: outputs have other shapes or types; {who}")
    elif promise.exact and not equal.all():
        sentence = (
            f"{entry.id}: {count - int(equal.sum())} of {count} answers are not the golden ones "
            f"(the first for sample {int(np.argmin(equal))}, off by up to {_tell(entry, worst)}); "
            f"{who}"
        )
        findings.refuse(OUTPUTS, sentence if warning is None else f"{sentence}; {warning}")
    elif not promise.exact and any(d > t for d, t in zip(worst, promise.tolerances)):
        findings.refuse(
            OUTPUTS,
            f"{entry.id}: answers are off by {_tell(entry, worst)}, more than the "
            f"{_tell(entry, promise.tolerances)} that are allowed; {who}",
        )


def _wide(array: Array) -> npt.NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)


def _tell(entry: Artifact, distances: Sequence[float]) -> str:
    """ "3 steps", or by output where there are several."""
    return ", ".join(
        f"{distance:g} steps" if code_of(spec)[0] is not None else f"{distance:.3g}"
        for distance, spec in zip(distances, entry.outputs)
    )


def _hold_placement(
    entry: Artifact, promise: ArtifactProof, found: Answers, findings: _Findings
) -> None:
    """All operators on what was promised, and on nothing else."""
    if isinstance(promise.placement, Unavailable):
        return
    wanted = _tell_placement(promise.placement)
    if isinstance(found.placement, Unavailable):
        findings.refuse(
            PLACEMENT,
            f"{entry.id}: it should run on {wanted}, and {found.made_by} does not tell where "
            f"({found.placement.reason}): leave placement out with --anywhere",
        )
    elif set(found.placement) != set(promise.placement):
        findings.refuse(
            PLACEMENT,
            f"{entry.id}: it ran on {_tell_placement(found.placement)}, "
            f"and should run on {wanted} ({found.made_by})",
        )


def _tell_placement(names: Sequence[str]) -> str:
    return " and ".join(names) or "the runtime's own kernels"


def _hold_latency(entry: Artifact, found: Answers, limit: int, findings: _Findings) -> None:
    if isinstance(found.p90_ns, Unavailable):
        findings.refuse(LATENCY, f"{entry.id}: no 90th percentile ({found.p90_ns.reason})")
    elif found.p90_ns > limit:
        findings.refuse(
            LATENCY,
            f"{entry.id}: nine of ten inferences take up to {found.p90_ns / 1e6:.3g} ms, more than "
            f"{limit / 1e6:g} ms",
        )


def _steps(
    findings: _Findings, wanted: Wanted, *, files: int, limit: int | None
) -> tuple[Step, ...]:
    """All steps in order; what comes behind broken files was not asked."""
    proven = findings.artifacts
    ids = ", ".join(one.id for one in proven)
    exact = [one for one in proven if one.exact]
    near = [one.id for one in proven if not one.exact]
    told = [f"{', '.join(one.id for one in exact)} equal bit for bit"] * bool(exact)
    told += [f"{', '.join(near)} within bounds"] * bool(near)
    queries = proven[0].queries if proven else 0
    seen = {
        FILES: f"{files} files whole",
        SIGNATURE: f"signed by the key {findings.signer[:16]}…",
        OUTPUTS: f"{' and '.join(told)} over {queries} samples",
        PLACEMENT: f"ran where promised ({_places(proven)})",
        LATENCY: f"p90 of {ids} within {(limit or 0) / 1e6:g} ms",
    }
    is_usable = not findings.problems.keys() & {FILES, SIGNATURE}
    asked = {
        FILES: SIGNATURE not in findings.problems,
        SIGNATURE: bool(findings.signer),
        OUTPUTS: is_usable,
        PLACEMENT: wanted.placement and is_usable,
        LATENCY: limit is not None and is_usable,
    }
    steps = []
    for name, sentence in seen.items():
        problems = findings.problems.get(name)
        if problems:
            steps.append(Step(name, REFUSED, "; ".join(problems)))
        elif asked[name]:
            steps.append(Step(name, PROVEN, sentence))
        else:
            steps.append(Step(name, UNASKED, ""))
    return tuple(steps)


def _places(proven: Sequence[ProvenArtifact]) -> str:
    found = [
        _tell_placement(one.placement)
        for one in proven
        if not isinstance(one.placement, Unavailable)
    ]
    return ", ".join(dict.fromkeys(found)) or "unknown"
