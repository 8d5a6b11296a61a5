"""Reference outputs for models made elsewhere: those of the float32 file, run here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.fidelity import to_reals
from edgeticket.device_runner.manifest import Artifact, InputSpec
from edgeticket.device_runner.outputs import answers
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.pipeline.external.file import ExternalModel
from edgeticket.pipeline.reference.outputs import Reference, bytes_of, fitting_count

Array = npt.NDArray[Any]


def find_references(
    artifacts: Sequence[Artifact],
    read: Sequence[ExternalModel],
    stored: Sequence[Array],
    described: Sequence[InputSpec],
) -> dict[str, Reference]:
    """For each network the answers of its file in float32 to the first samples.

    Without one, those of another network's, as all files answer the same samples; without any,
    those of its own first file, which say whether a device answers as this machine does.
    """
    floats = [i for i, model in enumerate(read) if model.precision == "fp32"]
    size = sum(bytes_of([np.empty(s.shape, np.float32)]) for s in artifacts[0].outputs)
    count = fitting_count(len(stored[0]), size)
    made: dict[int, Reference] = {}
    found: dict[str, Reference] = {}
    for i, entry in enumerate(artifacts):
        if entry.network in found:
            continue
        mine = [j for j in floats if artifacts[j].network == entry.network]
        chosen = (mine or floats or [i])[0]
        if chosen not in made:
            made[chosen] = _computed(artifacts[chosen], read[chosen], stored, described, count)
        found[entry.network] = made[chosen]
    return found


def _computed(
    entry: Artifact,
    model: ExternalModel,
    stored: Sequence[Array],
    described: Sequence[InputSpec],
    count: int,
) -> Reference:
    session = get_runtime(entry.runtime).load(
        model.data, threads=1, place=model.place,
        inputs=[spec.name for spec in entry.inputs], outputs=[spec.name for spec in entry.outputs],
    )  # fmt: skip
    some = [array[:count] for array in stored]
    # What is not finite is refused with all of it, when the bundle is written.
    ask = partial(answers, session.query, described=described, artifact=entry)
    rows = list(ask(some, only_finite=False))
    outputs = []
    for spec, parts in zip(entry.outputs, zip(*rows, strict=True), strict=True):
        whole = np.stack(parts)
        outputs.append(to_reals(whole, spec).astype(np.float32) if spec.scale else whole)
    also = "" if entry.precision == "fp32" else f", in {entry.precision}"
    version = session.version if isinstance(session.version, str) else ""
    by = f"{plain(entry.id)} in {session.package} {version}".strip()
    return Reference(f"{by} on the machine that made the bundle{also}", tuple(outputs))
