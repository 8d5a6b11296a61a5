"""What an artifact answers here to the first samples of its bundle, and who computed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.latency import measure
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.outputs import answers
from edgeticket.device_runner.preprocess import prepare, query_of
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.runtimes.session import Session, check_ports
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]
Placed = Union[tuple[str, ...], Unavailable]

P90_QUERIES = 64  # which a 90th percentile needs, see `latency.smallest_count`
TIMED_S, WARMUP_S = 0.3, 0.1


@dataclass(frozen=True)
class Answers:
    """``outputs``: [queries, ...] each, as `device_runner.outputs.answers` gives them.

    ``placement``: providers or delegates that got operators; none: the runtime's own kernels.
    """

    outputs: tuple[Array, ...]
    made_by: str
    placement: Placed
    p90_ns: int | Unavailable


def first_queries(bundle: Bundle, count: int) -> tuple[Array, ...]:
    """At most ``count`` queries, from the first sample, [N, ...] for each input."""
    few = min(count, bundle.manifest.samples.count)
    return tuple(stored[:count] for stored in bundle.inputs(few))


def answer(
    bundle: Bundle,
    entry: Artifact,
    inputs: Sequence[Array],
    *,
    architecture: str,
    cpu_only: bool = False,
    threads: int = 1,
    timed: bool = False,
) -> Answers:
    """Run ``inputs``, samples as stored, through one artifact.

    Args:
        architecture: of this machine, as `made_by` says it.
        timed: also tell the 90th percentile of the latency.

    Raises:
        InputError: the runtime refuses the file; outputs are not finite.
    """
    runtime, model = get_runtime(entry.runtime), bundle.read(entry.file)
    session = runtime.load(
        model, threads=threads, place=entry.id, cpu_only=cpu_only,
        inputs=[spec.name for spec in entry.inputs], outputs=[spec.name for spec in entry.outputs],
    )  # fmt: skip
    check_ports(session, entry)
    described = bundle.manifest.inputs
    rows = list(answers(session.query, inputs, described=described, artifact=entry))
    placed: Placed = session.delegates
    if runtime.find_placement is not None:
        found = runtime.find_placement(model, threads=threads, place=entry.id, cpu_only=cpu_only)
        placed = tuple(name for name, operators in found.operators.items() if operators)
    p90_ns: int | Unavailable = Unavailable("it was not asked for")
    if timed:
        p90_ns = _p90(session, entry, prepare(inputs, described, entry.inputs, place=entry.id))
    version = session.version if isinstance(session.version, str) else "of unknown version"
    return Answers(
        outputs=tuple(np.stack(parts) for parts in zip(*rows)),
        made_by=f"{session.package} {version} on {architecture}",
        placement=placed,
        p90_ns=p90_ns,
    )


def _p90(session: Session, entry: Artifact, tensors: Sequence[Array]) -> int | Unavailable:
    queries = [query_of(tensors, entry.inputs, i) for i in range(len(tensors[0]))]
    (latency,) = measure(
        [(session.query, queries)],
        min_seconds=TIMED_S,
        min_queries=P90_QUERIES,
        warmup_seconds=WARMUP_S,
    )
    return latency.p90_ns
