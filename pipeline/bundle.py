"""Write what is copied to a device: manifest, artifacts, samples, references. No torch here.

Reading bundles is the device runner's business (`device_runner.bundle`); the host reads back
through the same code what it wrote.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeticket.device_runner.bundle import MANIFEST, Bundle
from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.manifest import (
    CLASSES,
    NOTHING,
    SCHEMA_VERSION,
    TRANSCRIPTS,
    Artifact,
    FileEntry,
    InputSpec,
    Manifest,
    Network,
    Samples,
    Task,
    write_manifest,
)
from edgeticket.device_runner.npz import format_npz
from edgeticket.device_runner.stores import RATIO_LIMIT
from edgeticket.device_runner.strict_json import format_json
from edgeticket.device_runner.task import read_settings
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.proof import make_proof
from edgeticket.pipeline.reference.outputs import (
    Reference,
    describe_references,
    reference_files,
    refuse_nonfinite,
)

# A fixed date makes equal bundles equal zips; 1980 is the earliest that the format can say.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)

TRANSCRIPTS_FILE = "samples/transcripts.json"
TARGETS_FILE = "samples/targets.npz"


@dataclass(frozen=True, eq=False)
class StoredInput:
    """One input of the networks, and test examples for it.

    samples: as stored, before preprocessing, [N, ...], channels last; see
        `device_runner.preprocess`. Of recordings that are transcribed waveforms of any length,
        int16 [samples] each.
    capture: what made the samples of decoded pictures; steps as data.
    preprocessing: steps of `device_runner.preprocess`, as data.
    """

    name: str
    samples: NDArray[Any] | Sequence[NDArray[np.int16]]
    capture: Sequence[Mapping[str, Any]] = ()
    preprocessing: Sequence[Mapping[str, Any]] = ()


def write_bundle(
    folder: Path,
    *,
    name: str,
    artifacts: Sequence[tuple[Artifact, bytes]],
    inputs: Sequence[StoredInput],
    targets: NDArray[np.int64] | Sequence[str] | Targets | None,
    dataset: str,
    labels: Sequence[str],
    networks: Mapping[str, Network],
    provenance: Mapping[str, Any],
    outputs: Sequence[str] = ("output",),
    references: Mapping[str, Reference] = MappingProxyType({}),
    random: int | None = None,
    chunks: Chunks | None = None,
    separator_bias: float = 0.0,
    integer: Collection[str] = (),
    max_p90_ms: float | None = None,
    proven: bool = True,
) -> None:
    """Fill the empty ``folder``. The same arguments give the same bytes.

    Args:
        folder: exists and is empty.
        name: of the bundle.
        artifacts: each with the bytes of its file, ``artifact.file``.
        inputs: test examples for every input of the networks, in the order of the artifacts'.
        targets: of classes int64 [N]; of recordings that are transcribed the text of each; of
            other tasks `Targets`, with the task's name and settings. None: nothing is asked of the
            outputs. `Targets` without arrays: the task says when two answers agree, and no more.
        dataset: where the samples come from.
        labels: class names by number; of other tasks they may be left out.
        networks: what the host knows of each network by name.
        provenance: recipe, ticket, training and tool versions; any JSON.
        outputs: what reports call the outputs, in the order of the artifacts'.
        references: by network, its outputs in float32 for the first samples
            (`pipeline.reference.outputs`); all of one number of samples.
        random: the seed that the inputs were drawn with; None: they are data.
        chunks: how recordings that are transcribed become queries.
        separator_bias: how their texts are decoded; see `device_runner.ctc.Decoder`.
        integer: ids of artifacts whose every value is codes (`convert.Converted.integer`): their
            answers are promised bit for bit.
        max_p90_ms: what an inference may take on a device, by its 90th percentile.
        proven: keep what the artifacts answer here, which runs them (`pipeline.proof`).

    Raises:
        InputError: parts that do not fit one another; targets that cannot be right; references
            that are not finite.
    """
    contents: dict[str, bytes] = {artifact.file: data for artifact, data in artifacts}
    several = len(inputs) > 1
    places = [f"samples/inputs{f'-{i}' * several}.npy" for i in range(len(inputs))]
    targets_file: str | None = "samples/labels.npy" if chunks is None else TRANSCRIPTS_FILE
    if chunks is not None:
        (recordings,) = inputs
        assert targets is not None
        assert not isinstance(targets, Targets)
        said = {"samples": [len(one) for one in recordings.samples], "texts": list(targets)}
        contents[places[0]] = _npy(np.concatenate(list(recordings.samples)))
        contents[TRANSCRIPTS_FILE] = format_json(said)
    else:
        contents |= {
            place: _npy(np.asarray(one.samples)) for place, one in zip(places, inputs, strict=True)
        }
        if isinstance(targets, Targets):
            targets_file = TARGETS_FILE if targets.arrays else None
            if targets_file is not None:
                contents[targets_file] = _checked(targets, len(inputs[0].samples))
        elif targets is None:
            targets_file = None
        else:
            contents["samples/labels.npy"] = _npy(np.asarray(targets))
    refuse_nonfinite(references, outputs)
    kept = describe_references(references)
    contents |= reference_files(references, _npy)
    if isinstance(targets, Targets):
        task = targets.task
    else:
        task = Task(NOTHING if targets is None else CLASSES if chunks is None else TRANSCRIPTS)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        files=_entries(contents),
        artifacts=tuple(artifact for artifact, _ in artifacts),
        inputs=tuple(
            InputSpec(one.name, place, _steps(one.capture), _steps(one.preprocessing))
            for place, one in zip(places, inputs, strict=True)
        ),
        outputs=tuple(outputs),
        task=task,
        labels=tuple(labels),
        samples=Samples(
            targets=targets_file,
            count=len(inputs[0].samples),
            dataset=dataset,
            split="test",
            random=random,
        ),
        networks=dict(networks),
        provenance=dict(provenance),
        references=kept,
        chunks=chunks,
        separator_bias=separator_bias,
    )
    if proven:
        manifest, golden = _with_proof(manifest, contents, integer, max_p90_ms)
        contents |= golden
    for path, data in contents.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    # The manifest comes last: a folder without one is no bundle.
    (folder / MANIFEST).write_bytes(write_manifest(manifest))


def zip_bundle(folder: Path, path: Path) -> None:
    """Pack a bundle folder into one zip file at ``path``; equal folders give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), ZIP_DATE)
            entry.external_attr = 0o644 << 16
            data = file.read_bytes()
            # Masks of one class alone shrink further than any reader trusts a zip.
            is_safe = len(zlib.compress(data, 1)) * RATIO_LIMIT // 4 > len(data)
            entry.compress_type = zipfile.ZIP_DEFLATED if is_safe else zipfile.ZIP_STORED
            archive.writestr(entry, data)


class _Contents:
    """Files of a bundle that is about to be written, as `device_runner.stores.Store`."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def read(self, path: str, *, limit: int) -> bytes:
        return self._contents[path][: limit + 1]


def _with_proof(
    manifest: Manifest,
    contents: Mapping[str, bytes],
    integer: Collection[str],
    max_p90_ms: float | None,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with golden answers, and their files."""
    whole = {**contents, MANIFEST: write_manifest(manifest)}
    bundle = Bundle(_Contents(whole), place=manifest.name)
    proof, arrays = make_proof(bundle, integer=integer, max_p90_ms=max_p90_ms)
    golden = {path: _npy(array) for path, array in arrays.items()}
    return replace(manifest, proof=proof, files=_entries({**contents, **golden})), golden


def _entries(contents: Mapping[str, bytes]) -> tuple[FileEntry, ...]:
    return tuple(
        FileEntry(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in sorted(contents.items())
    )


def _checked(targets: Targets, count: int) -> bytes:
    """Targets as a bundle holds them, if they can be right for ``count`` samples."""
    task, settings = read_settings(targets.task.name, targets.task.settings, place="task")
    task.check(targets.arrays, settings, count)
    return format_npz(targets.arrays)


def _steps(steps: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(dict(step) for step in steps)


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
