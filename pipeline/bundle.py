"""Write what is copied to a device: manifest, artifacts, labelled samples. No torch here.

Reading bundles is the device runner's business (`device_runner.bundle`); the host reads back
through the same code what it wrote.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeticket.device_runner.bundle import MANIFEST
from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.manifest import (
    SCHEMA_VERSION,
    Artifact,
    FileEntry,
    Manifest,
    Network,
    Samples,
    write_manifest,
)
from edgeticket.device_runner.strict_json import format_json

# A fixed date makes equal bundles equal zips; 1980 is the earliest that the format can say.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def write_bundle(
    folder: Path,
    *,
    name: str,
    artifacts: Sequence[tuple[Artifact, bytes]],
    inputs: NDArray[Any] | Sequence[NDArray[np.int16]],
    targets: NDArray[np.int64] | Sequence[str],
    dataset: str,
    labels: Sequence[str],
    preprocessing: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Network],
    provenance: Mapping[str, Any],
    capture: Sequence[Mapping[str, Any]] = (),
    chunks: Chunks | None = None,
    separator_bias: float = 0.0,
) -> None:
    """Fill the empty ``folder``. The same arguments give the same bytes.

    Args:
        folder: exists and is empty.
        name: of the bundle.
        artifacts: each with the bytes of its file, ``artifact.file``.
        inputs: test examples as stored, before preprocessing; see `device_runner.preprocess`. With
            ``chunks`` recordings of any length, int16 [samples] each.
        targets: int64 [N], the class of each, or the text of each recording.
        dataset: where the samples come from.
        labels: class names by number.
        preprocessing: steps of `device_runner.preprocess`, as data.
        networks: what the host knows of each network by name.
        provenance: recipe, ticket, training and tool versions; any JSON.
        capture: what made the samples of decoded pictures; steps likewise.
        chunks: how recordings that are transcribed become queries.
        separator_bias: how their texts are decoded; see `device_runner.ctc.Decoder`.
    """
    contents: dict[str, bytes] = {artifact.file: data for artifact, data in artifacts}
    labels_file = "samples/labels.npy" if chunks is None else "samples/transcripts.json"
    if chunks is None:
        contents["samples/inputs.npy"] = _npy(np.asarray(inputs))
        contents[labels_file] = _npy(np.asarray(targets))
    else:
        said = {"samples": [len(recording) for recording in inputs], "texts": list(targets)}
        contents["samples/inputs.npy"] = _npy(np.concatenate(list(inputs)))
        contents[labels_file] = format_json(said)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        files=tuple(
            FileEntry(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for path, data in sorted(contents.items())
        ),
        artifacts=tuple(artifact for artifact, _ in artifacts),
        preprocessing=tuple(dict(step) for step in preprocessing),
        labels=tuple(labels),
        samples=Samples(
            inputs="samples/inputs.npy",
            labels=labels_file,
            count=len(targets),
            dataset=dataset,
            split="test",
        ),
        networks=dict(networks),
        provenance=dict(provenance),
        capture=tuple(dict(step) for step in capture),
        chunks=chunks,
        separator_bias=separator_bias,
    )
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
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
