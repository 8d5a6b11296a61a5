"""What is measured: one artifact, loaded with so many threads, and queries that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import Run
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.placement import Placement
from edgeticket.device_runner.preprocess import prepare, query_of
from edgeticket.device_runner.report import RuntimeIdentity
from edgeticket.device_runner.runtimes import Runtime, get_runtime
from edgeticket.device_runner.runtimes.session import Session, check_ports
from edgeticket.device_runner.scenarios import ONE_BY_ONE
from edgeticket.device_runner.unavailable import Unavailable

CYCLED_INPUTS = 32  # prepared inputs that the timed queries go through in turn
TOLERANCE = 1e-4  # between a batch and single queries in float32, relative to the largest output


Tensors = Sequence[npt.NDArray[Any]]
"""What a query takes or gives: one array for each input, or output."""


@dataclass(frozen=True)
class Subject:
    """``run`` takes one of ``queries``, ``batch`` samples each; ``session.query`` one of
    ``singles``."""

    entry: Artifact
    threads: int
    session: Session
    placement: Placement | Unavailable
    singles: Sequence[Tensors]
    run: Run
    queries: Sequence[Tensors]
    batch: int
    how: str

    def identify(self, *, withheld: tuple[str, ...]) -> RuntimeIdentity:
        """What executed the model, for the report."""
        return RuntimeIdentity(
            name=self.entry.runtime,
            package=self.session.package,
            version=self.session.version,
            threads=self.threads,
            delegates=self.session.delegates,
            withheld=withheld,
        )


def load_subject(
    bundle: Bundle,
    entry: Artifact,
    inputs: Tensors,
    *,
    threads: int,
    batch: int,
    cpu_only: bool,
) -> Subject:
    """Load an artifact and prepare queries from the first samples.

    ``inputs`` are samples as stored, one array for each input. ``batch`` samples go into a query
    if the file takes them and answers as it does one by one; else queries are single, and the
    subject says why.

    Raises:
        InputError: the runtime refuses the file, or it is not what the manifest says.
    """
    runtime, model = get_runtime(entry.runtime), bundle.read(entry.file)
    ordered: dict[str, Any] = {
        "threads": threads,
        "place": entry.id,
        "cpu_only": cpu_only,
        "inputs": [spec.name for spec in entry.inputs],
        "outputs": [spec.name for spec in entry.outputs],
    }
    session = runtime.load(model, **ordered)
    check_ports(session, entry)
    placement: Placement | Unavailable = Unavailable(
        "the runtime does not tell which operators its delegate runs"
    )
    if runtime.find_placement is not None:
        placement = runtime.find_placement(
            model, threads=threads, place=entry.id, cpu_only=cpu_only
        )
    first = [stored[:CYCLED_INPUTS] for stored in inputs]
    tensors = prepare(first, bundle.manifest.inputs, entry.inputs, place=entry.id)
    singles = [query_of(tensors, entry.inputs, i) for i in range(len(tensors[0]))]
    how = ONE_BY_ONE
    if batch > 1:
        try:
            run, full = _batched(runtime, model, session, singles, entry, ordered, batch=batch)
        except InputError as error:
            how = f"{ONE_BY_ONE}: {error}"
        else:
            how = f"{batch} samples in one query"
            return Subject(entry, threads, session, placement, singles, run, [full], batch, how)
    return Subject(entry, threads, session, placement, singles, session.query, singles, 1, how)


def _batched(
    runtime: Runtime,
    model: bytes,
    session: Session,
    singles: Sequence[Tensors],
    entry: Artifact,
    ordered: dict[str, Any],
    *,
    batch: int,
) -> tuple[Run, Tensors]:
    """What answers ``batch`` samples at once, and such a query.

    Raises:
        InputError: the file does not take them, or answers otherwise.
    """
    if not all(spec.has_batch for spec in (*entry.inputs, *entry.outputs)):
        raise InputError(f"{entry.id} does not take {batch} samples at once: it has no batch")
    batched = runtime.load(model, batch=batch, **ordered)
    chosen = [singles[i % len(singles)] for i in range(batch)]
    full = [np.concatenate(parts) for parts in zip(*chosen)]
    answers = batched.query(full)
    alone = zip(*(session.query(single) for single in chosen))
    for together, parts in zip(answers, alone):
        _check_batch(together, np.concatenate(parts), batch, place=entry.id)
    return batched.query, full


def _check_batch(
    answers: npt.NDArray[Any], alone: npt.NDArray[Any], batch: int, *, place: str
) -> None:
    """A file whose inner shapes are fixed may take a batch and mix its samples up."""
    wanted = alone.astype(np.float64)
    allowed = TOLERANCE * float(np.abs(wanted).max()) if answers.dtype == np.float32 else 0.0
    if answers.shape != alone.shape or np.abs(answers - wanted).max() > allowed:
        raise InputError(f"{place} answers otherwise to {batch} samples at once")
