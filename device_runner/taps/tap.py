"""The command `tap`: a bundle's samples through one artifact, every layer's output to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np

from edgeticket.device_runner.amx import withhold_amx
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.machine import describe_machine
from edgeticket.device_runner.preprocess import prepare, query_of
from edgeticket.device_runner.provenance import versions
from edgeticket.device_runner.report import BundleIdentity, RuntimeIdentity
from edgeticket.device_runner.runtimes import Runtime, get_runtime
from edgeticket.device_runner.runtimes.session import TappedSession, check_ports
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.taps.file import (
    DTYPES,
    SCHEMA_VERSION,
    Kernels,
    TapFacts,
    TappedArtifact,
    TappedValue,
    taps_writer,
)
from edgeticket.device_runner.unavailable import Unavailable

SAMPLES = 16
LIMIT_BYTES = 2**30


def tap(
    path: Path,
    file: Path,
    *,
    artifact: str,
    samples: int = SAMPLES,
    threads: int = 1,
    amx: bool = True,
    limit_bytes: int = LIMIT_BYTES,
    progress: Callable[[str, float], None] = lambda what, share: None,
    root: Path = Path("/"),
) -> TapFacts:
    """Tap one artifact, and check that its outputs are those of the file without taps.

    Args:
        path: a bundle, folder or .zip.
        file: the taps file to write.
        artifact: its id.
        samples: how many of the bundle's samples, from the first; all if there are fewer.
        threads: threads within one inference.
        amx: False withholds it from the runtimes for as long as this process lives.
        limit_bytes: a larger file is refused before it is begun.
        progress: told how far it is.
        root: where the machine is looked at.

    Returns:
        What the file says of itself.

    Raises:
        InputError: the bundle, the artifact or its runtime cannot be used; the disk is full.
    """
    if not amx:
        withhold_amx()
    with open_bundle(path) as bundle:
        (entry,) = select(bundle.manifest, artifact=artifact).chosen
        inputs = [stored[:samples] for stored in bundle.inputs()]
        model = bundle.read(entry.file)
        manifest, digest = bundle.manifest, bundle.digest
    runtime = get_runtime(entry.runtime)
    outputs = [spec.name for spec in entry.outputs]
    plain = runtime.load(
        model, threads=threads, place=entry.id, outputs=outputs,
        inputs=[spec.name for spec in entry.inputs],
    )  # fmt: skip
    check_ports(plain, entry)
    session = runtime.load_tapped(model, threads=threads, place=entry.id, outputs=outputs)
    order = [list(plain.inputs).index(name) for name in session.inputs]
    values = _values(session)
    kept = [value.name for value in values]
    output = next(name for name in outputs if name in kept)
    count = len(inputs[0])
    needed = count * sum(value.size_bytes for value in values)
    if needed > limit_bytes:
        fitting = count * limit_bytes // needed
        raise InputError(
            f"the layers of {count} samples take {needed / 1e6:.0f} MB, more than "
            f"{limit_bytes / 1e6:.0f} MB: ask for {max(fitting, 1)} samples"
        )
    same, furthest = 0, 0.0
    with taps_writer(values, beside=file.parent) as writer:
        for i in range(count):
            progress(f"tapping {entry.id}", i / count)
            tensors = prepare(
                [stored[i : i + 1] for stored in inputs],
                manifest.inputs,
                entry.inputs,
                place=entry.id,
            )
            query = query_of(tensors, entry.inputs, 0)
            row = session.query([query[at] for at in order])
            differences = [
                np.abs(row[name].astype(np.float64) - answer)
                for name, answer in zip(outputs, plain.query(query))
                if name in row
            ]
            same += not any(difference.any() for difference in differences)
            furthest = max(furthest, *(float(d.max()) for d in differences))
            writer.add(row)
        facts = TapFacts(
            schema_version=SCHEMA_VERSION,
            bundle=BundleIdentity(name=manifest.name, digest=digest),
            artifact=TappedArtifact(
                entry.id, next(f.sha256 for f in manifest.files if f.path == entry.file)
            ),
            runtime=RuntimeIdentity(
                name=entry.runtime,
                package=session.package,
                version=session.version,
                threads=threads,
                delegates=session.delegates,
                withheld=() if amx else ("amx",),
            ),
            machine=describe_machine(root),
            versions=versions(),
            samples=count,
            output=output,
            values=values,
            same_outputs=same,
            output_difference=furthest,
            kernels=_kernels(runtime, model, place=entry.id),
        )
        writer.finish(facts, file)
    progress(f"tapping {entry.id}", 1.0)
    return facts


def _values(session: TappedSession) -> tuple[TappedValue, ...]:
    """The values that can be kept: of fixed shape, numbers of a known kind."""
    kept = []
    for name, port in session.values.items():
        shape = tuple(size for size in port.shape if isinstance(size, int))
        if port.dtype in DTYPES and len(shape) == len(port.shape):
            kept.append(TappedValue(name, shape, port.dtype, port.scale, port.zero_point))
    if not any(value.name in session.outputs for value in kept):
        name = session.outputs[0]
        raise InputError(
            f"the output {name} is {session.values[name].dtype}: taps keep {', '.join(DTYPES)}"
        )
    return tuple(kept)


def _kernels(runtime: Runtime, model: bytes, *, place: str) -> Kernels | Unavailable:
    if runtime.count_kernels is None:
        return Unavailable("the runtime does not tell its kernels")
    plain, tapped = (runtime.count_kernels(model, tapped=t, place=place) for t in (False, True))
    return Kernels(plain, tapped)
