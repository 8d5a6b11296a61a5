"""What a bundle promises of itself: golden answers and placement, for `device-runner prove`.

Answers are promised equal bit for bit where every value between input and output is codes and
what leads to the input rounds alike everywhere; elsewhere they come with a bound.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import to_reals
from edgeticket.device_runner.instructions import warn_inexact
from edgeticket.device_runner.machine import describe_machine
from edgeticket.device_runner.manifest import Artifact, ArtifactProof, Proof
from edgeticket.device_runner.proving.answering import Answers, answer, first_queries
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.convert.targets import is_optional
from edgeticket.pipeline.reference.outputs import bytes_of

QUERIES = 16
LIMIT_BYTES = 2**20  # of the answers of one artifact
# Arithmetic on single numbers, which IEEE 754 fixes; sums of many (log_mel) are not.
EXACT_STEPS = frozenset({"normalize"})
FLOAT_TOLERANCE = 1e-3  # relative to the largest number of an output: order of sums, other kernels
INT8_TOLERANCE = 0.05  # likewise, where int8 files give real numbers
FEWEST_STEPS = 4  # codes near half way fall to either side, and that adds up

Array = NDArray[Any]


def make_proof(
    bundle: Bundle, *, integer: Collection[str], max_p90_ms: float | None
) -> tuple[Proof, dict[str, Array]]:
    """Run the first samples of a bundle through all its artifacts.

    Args:
        bundle: without a proof.
        integer: ids of artifacts whose every value is codes (`Converted.integer`).
        max_p90_ms: what the 90th percentile of an inference may be at most; None: nothing.

    Returns:
        The proof, and the arrays of the files that it names.
    """
    manifest = bundle.manifest
    size = max(_answer_bytes(entry) for entry in manifest.artifacts)
    inputs = first_queries(bundle, max(1, min(QUERIES, LIMIT_BYTES // max(size, 1))))
    steps = {step["op"] for one in manifest.inputs for step in one.preprocessing}
    ask = functools.cache(lambda entry_id: _answer(bundle, entry_id, inputs))
    golden = _golden(manifest.artifacts, ask, integer if steps <= EXACT_STEPS else ())
    proofs: dict[str, ArtifactProof | Unavailable] = {}
    files: dict[str, Array] = {}
    paths: dict[int, tuple[str, ...]] = {}  # of answers, which exact artifacts share
    for entry in manifest.artifacts:
        is_exact = entry.id in golden
        found = golden[entry.id] if is_exact else ask(entry.id)
        if isinstance(found, Unavailable):
            proofs[entry.id] = found
            continue
        if id(found) not in paths:
            names = tuple(f"proof/{len(paths)}-{i}.npy" for i in range(len(found.outputs)))
            paths[id(found)] = names
            files |= dict(zip(names, found.outputs, strict=True))
        proofs[entry.id] = ArtifactProof(
            exact=is_exact,
            files=paths[id(found)],
            tolerances=_tolerances(bundle, entry, found, is_exact=is_exact),
            made_by=found.made_by,
            placement=_placement(entry, ask),
        )
    max_p90_ns = None if max_p90_ms is None else round(max_p90_ms * 1e6)
    return Proof(len(inputs[0]), max_p90_ns, proofs), files


def _answer_bytes(entry: Artifact) -> int:
    return bytes_of([np.empty(spec.shape, spec.dtype) for spec in entry.outputs])


def _answer(bundle: Bundle, entry_id: str, inputs: Sequence[Array]) -> Answers | Unavailable:
    entry = next(one for one in bundle.manifest.artifacts if one.id == entry_id)
    try:
        return answer(bundle, entry, inputs, architecture=platform.machine(), cpu_only=True)
    except InputError as error:
        return Unavailable(f"it did not run on the machine that made the bundle: {error}")


def _golden(
    artifacts: Sequence[Artifact],
    ask: Callable[[str], Answers | Unavailable],
    integer: Collection[str],
) -> Mapping[str, Answers]:
    """The answers of exact artifacts by id; the same object for all of one network.

    What is exact is known from how the files were made. They are run all the same, as many as are
    exact on this machine: where two of them differ, nothing of that network is promised.
    """
    machine = describe_machine()
    exact: dict[str, Answers] = {}
    for network in dict.fromkeys(entry.network for entry in artifacts):
        alike = [one for one in artifacts if one.network == network and one.id in integer]
        here = [
            ask(one.id)
            for one in alike
            if machine.architecture in one.architectures
            and warn_inexact(one, artifacts, machine) is None
        ]
        answers = [found for found in here if isinstance(found, Answers)]
        if answers and all(_equal(answers[0], other) for other in answers):
            exact |= {one.id: answers[0] for one in alike}
    return exact


def _equal(one: Answers, other: Answers) -> bool:
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(one.outputs, other.outputs, strict=True)
    )


def _tolerances(
    bundle: Bundle, entry: Artifact, found: Answers, *, is_exact: bool
) -> tuple[float, ...]:
    """How far outputs may be off: as far as rounding itself took them from float32, at least."""
    if is_exact:
        return (0.0,) * len(entry.outputs)
    references = bundle.references(entry.network)
    tolerances = []
    for i, (output, spec) in enumerate(zip(found.outputs, entry.outputs, strict=True)):
        if output.dtype.kind != "f" and spec.scale is None:  # tokens, counts
            tolerances.append(0.0)
            continue
        real = to_reals(output, spec).astype(np.float64)
        largest = float(np.abs(real).max())
        distance = 0.0
        if entry.precision == "int8" and references is not None:
            count = min(len(real), len(references[i]))
            if references[i][:count].shape == real[:count].shape:
                distance = float(np.abs(real[:count] - references[i][:count]).max())
        if spec.scale is not None:
            tolerances.append(float(max(FEWEST_STEPS, np.ceil(distance / spec.scale))))
            continue
        share = INT8_TOLERANCE if entry.precision == "int8" else FLOAT_TOLERANCE
        tolerances.append(max(share * largest, distance) + 1e-6)
    return tuple(tolerances)


def _placement(
    entry: Artifact, ask: Callable[[str], Answers | Unavailable]
) -> tuple[str, ...] | Unavailable:
    """Where it ran here; a file for TensorRT has to run there."""
    if is_optional(entry):
        return ("TensorRT",)
    if entry.runtime == "ort":
        return ("CPU",)
    mine = ask(entry.id)
    return mine.placement if isinstance(mine, Answers) else Unavailable(mine.reason)
