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
from edgeticket.device_runner.preprocess import preprocess, to_tensor
from edgeticket.device_runner.report import RuntimeIdentity
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.runtimes.session import Session, check_port
from edgeticket.device_runner.samples import Inputs
from edgeticket.device_runner.scenarios import ONE_BY_ONE
from edgeticket.device_runner.unavailable import Unavailable

CYCLED_INPUTS = 32  # prepared inputs that the timed queries go through in turn
TOLERANCE = 1e-4  # between a batch and single queries in float32, relative to the largest output


@dataclass(frozen=True)
class Subject:
    """``run`` takes one of ``queries``, ``batch`` samples each; ``session`` one of ``singles``."""

    entry: Artifact
    threads: int
    session: Session
    placement: Placement | Unavailable
    singles: Sequence[npt.NDArray[Any]]
    run: Run
    queries: Sequence[npt.NDArray[Any]]
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
    inputs: Inputs,
    *,
    threads: int,
    batch: int,
    cpu_only: bool,
) -> Subject:
    """Load an artifact and prepare queries from the first samples.

    ``batch`` samples go into a query if the file takes them and answers as it does one by one;
    else queries are single, and the subject says why.

    Raises:
        InputError: the runtime refuses the file, or it is not what the manifest says.
    """
    runtime, model = get_runtime(entry.runtime), bundle.read(entry.file)
    session = runtime.load(model, threads=threads, place=entry.id, cpu_only=cpu_only)
    check_port(session.input, entry.input, place=f"{entry.id}: the input")
    check_port(session.output, entry.output, place=f"{entry.id}: the output")
    placement: Placement | Unavailable = Unavailable(
        "the runtime does not tell which operators its delegate runs"
    )
    if runtime.find_placement is not None:
        placement = runtime.find_placement(
            model, threads=threads, place=entry.id, cpu_only=cpu_only
        )
    first = preprocess(inputs[:CYCLED_INPUTS], bundle.manifest.preprocessing)
    tensor = to_tensor(first, entry.input, place=entry.id)
    singles = [tensor[i : i + 1] for i in range(len(tensor))]
    single = Subject(
        entry, threads, session, placement, singles, session.run, singles, 1, ONE_BY_ONE
    )
    if batch == 1:
        return single
    try:
        batched = runtime.load(
            model, threads=threads, place=entry.id, batch=batch, cpu_only=cpu_only
        )
        full = np.concatenate([tensor] * -(-batch // len(tensor)))[:batch]
        _check_batch(batched.run(full), session, full, place=entry.id)
    except InputError as error:
        why = f"{ONE_BY_ONE}: {error}"
        return Subject(entry, threads, session, placement, singles, session.run, singles, 1, why)
    how = f"{batch} samples in one query"
    return Subject(entry, threads, session, placement, singles, batched.run, [full], batch, how)


def _check_batch(
    answers: npt.NDArray[Any], session: Session, full: npt.NDArray[Any], *, place: str
) -> None:
    """A file whose inner shapes are fixed may take a batch and mix its samples up."""
    alone = np.concatenate([session.run(full[i : i + 1]) for i in range(len(full))])
    wanted = alone.astype(np.float64)
    allowed = TOLERANCE * float(np.abs(wanted).max()) if answers.dtype == np.float32 else 0.0
    if answers.shape != alone.shape or np.abs(answers - wanted).max() > allowed:
        raise InputError(f"{place} answers otherwise to {len(full)} samples at once")
