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

from device_runner.bundle import MANIFEST
from device_runner.manifest import (
    SCHEMA_VERSION,
    Artifact,
    FileEntry,
    Manifest,
    Network,
    Samples,
    write_manifest,
)

# A fixed date makes equal bundles equal zips; 1980 is the earliest that the format can say.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def write_bundle(
    folder: Path,
    *,
    name: str,
    artifacts: Sequence[tuple[Artifact, bytes]],
    inputs: NDArray[Any],
    targets: NDArray[np.int64],
    dataset: str,
    labels: Sequence[str],
    preprocessing: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Network],
    provenance: Mapping[str, Any],
    capture: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Fill the empty ``folder``. The same arguments give the same bytes.

    Args:
        folder: exists and is empty.
        name: of the bundle.
        artifacts: each with the bytes of its file, ``artifact.file``.
        inputs: test examples as stored, before preprocessing; see `device_runner.preprocess`.
        targets: int64 [N], the class of each.
        dataset: where the samples come from.
        labels: class names by number.
        preprocessing: steps of `device_runner.preprocess`, as data.
        networks: what the host knows of each network by name.
        provenance: recipe, ticket, training and tool versions; any JSON.
        capture: what made the samples of decoded pictures; steps likewise.
    """
    contents: dict[str, bytes] = {artifact.file: data for artifact, data in artifacts}
    samples = Samples(
        inputs="samples/inputs.npy",
        labels="samples/labels.npy",
        count=len(targets),
        dataset=dataset,
        split="test",
    )
    contents[samples.inputs] = _npy(inputs)
    contents[samples.labels] = _npy(targets)
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
        samples=samples,
        networks=dict(networks),
        provenance=dict(provenance),
        capture=tuple(dict(step) for step in capture),
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
