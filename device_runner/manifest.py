"""manifest.json: what a bundle holds. Format: ``schemas/manifest.schema.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeticket.device_runner.chunks import Chunks, check_chunks
from edgeticket.device_runner.ctc import SEPARATOR
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.schema import check_version, load_schema, validate
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.unavailable import Unavailable

# 2: chunks of recordings, transcripts, scores by name; 3: separator_bias
# 4: parameters and multiply-accumulates may be unavailable
SCHEMA_VERSION = 4
CODE_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle; ``path`` is relative to its top, with forward slashes."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output: real = scale * (code - zero_point); both None for float32."""

    name: str
    shape: tuple[int, ...]  # with the batch of 1
    dtype: str  # float32, int8, uint8
    layout: str  # NCHW, NHWC, NCW, NWC, NC
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Artifact:
    """One model file for one runtime and precision."""

    id: str
    file: str
    network: str
    role: str  # baseline, deploy
    runtime: str  # a key of device_runner.runtimes.RUNTIMES
    precision: str  # fp32, int8
    architectures: tuple[str, ...]  # as uname -m says
    exact_with: tuple[str, ...]  # CPU flags, one of which it needs to be exact; none: always is
    input: TensorSpec
    output: TensorSpec


@dataclass(frozen=True)
class Samples:
    """Test examples: ``inputs`` is .npy as `device_runner.preprocess` takes them, ``labels`` int64
    [N]; of recordings that are transcribed as `device_runner.recordings` reads them."""

    inputs: str
    labels: str
    count: int
    dataset: str
    split: str


@dataclass(frozen=True)
class Network:
    """Host metrics of one network; ``scores`` are shares over the bundle's samples: top1, or wer
    and cer. Empty: it was not scored."""

    parameters: int | Unavailable
    macs: int | Unavailable
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Manifest:
    """The whole document; ``provenance`` is free JSON.

    ``capture`` leads from a decoded picture to a stored sample, ``preprocessing`` on from there.
    With ``chunks``, samples are recordings that are transcribed, and ``labels`` are the symbols of
    a CTC network, of which the first is the blank; without, every sample has one of ``labels``.
    ``separator_bias`` is that of `device_runner.ctc.Decoder`.
    """

    schema_version: int
    name: str
    files: tuple[FileEntry, ...]
    artifacts: tuple[Artifact, ...]
    preprocessing: tuple[Mapping[str, Any], ...]
    labels: tuple[str, ...]
    samples: Samples
    networks: Mapping[str, Network]
    provenance: Mapping[str, Any]
    capture: tuple[Mapping[str, Any], ...] = ()
    chunks: Chunks | None = None  # see above
    separator_bias: float = 0.0


def read_manifest(data: bytes, *, place: str = "manifest.json") -> Manifest:
    """Bytes of manifest.json -> manifest.

    Raises:
        InputError: no strict JSON, not what the schema allows, from a newer edgeticket, or
            parts that contradict one another.
    """
    document = parse_json(data, place=place)
    check_version(document, known=SCHEMA_VERSION, place=place)
    validate(document, load_schema("manifest"), place=place)
    manifest = Manifest(
        schema_version=document["schema_version"],
        name=document["name"],
        files=tuple(FileEntry(**entry) for entry in document["files"]),
        artifacts=tuple(Artifact(**artifact_fields(a)) for a in document["artifacts"]),
        preprocessing=tuple(document["preprocessing"]),
        labels=tuple(document["labels"]),
        samples=Samples(**document["samples"]),
        networks={name: Network(**flat_fields(n)) for name, n in document["networks"].items()},
        provenance=document["provenance"],
        capture=tuple(document["capture"]),
        chunks=None if document["chunks"] is None else Chunks(**document["chunks"]),
        separator_bias=float(document["separator_bias"]),
    )
    _check(manifest, place)
    return manifest


def write_manifest(manifest: Manifest) -> bytes:
    """Manifest -> bytes of manifest.json, the same bytes every time.

    Raises:
        InputError: the manifest would be refused when read.
    """
    data = format_json(to_json(manifest))
    read_manifest(data)
    return data


def artifact_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """A validated artifact object -> constructor arguments of ``Artifact``."""
    return {
        **document,
        "architectures": tuple(document["architectures"]),
        "exact_with": tuple(document["exact_with"]),
        "input": _tensor(document["input"]),
        "output": _tensor(document["output"]),
    }


def check_path(path: str, *, place: str) -> None:
    """Allow only plain relative paths, so that no entry can lead out of the bundle.

    Raises:
        InputError: absolute, with a drive letter, backslash, control character, empty part,
            ``.`` or ``..``.
    """
    if re.search(r"[\x00-\x1f\x7f\\:]", path) or any(p in ("", ".", "..") for p in path.split("/")):
        raise InputError(
            f"{place}: the path {path!r} is not allowed: paths are relative to the top of the "
            "bundle, like models/a.onnx"
        )


def check_tensor(spec: TensorSpec, *, place: str) -> None:
    """Check what a schema cannot say about a tensor: its fields must agree.

    Raises:
        InputError: batch other than 1, layout of another rank, or quantisation that does not
            fit the dtype.
    """
    if len(spec.shape) != len(spec.layout) or spec.shape[0] != 1:
        raise InputError(
            f"{place}: shape {list(spec.shape)} does not fit layout {spec.layout} with a batch of 1"
        )
    if spec.dtype == "float32":
        if spec.scale is not None or spec.zero_point is not None:
            raise InputError(f"{place}: float32 has neither scale nor zero_point: set both to null")
        return
    low, high = CODE_RANGES[spec.dtype]
    if spec.scale is None or spec.zero_point is None or not low <= spec.zero_point <= high:
        raise InputError(
            f"{place}: {spec.dtype} needs a scale and a zero_point from {low} to {high}, "
            f"not {spec.scale} and {spec.zero_point}"
        )


def _tensor(document: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(**{**document, "shape": tuple(document["shape"])})


def _check(manifest: Manifest, place: str) -> None:
    """What the schema cannot say: names that must be unique, or lead somewhere."""
    paths = {entry.path for entry in manifest.files}
    _unique((entry.path for entry in manifest.files), f"{place}: files", "path")
    for path in paths:
        check_path(path, place=f"{place}: files")
    if "manifest.json" in paths:
        raise InputError(f"{place}: files lists manifest.json, which cannot hold its own hash")
    _unique((artifact.id for artifact in manifest.artifacts), f"{place}: artifacts", "id")
    for artifact in manifest.artifacts:
        at = f"{place}: artifact {artifact.id}"
        _listed(artifact.file, paths, at)
        if artifact.network not in manifest.networks:
            known = ", ".join(manifest.networks) or "none"
            raise InputError(f"{at}: network {artifact.network!r} is not in networks ({known})")
        check_tensor(artifact.input, place=f"{at}: input")
        check_tensor(artifact.output, place=f"{at}: output")
        _check_output(artifact.output, manifest, at)
    if manifest.separator_bias and (manifest.chunks is None or SEPARATOR not in manifest.labels):
        raise InputError(
            f"{place}: separator_bias is {manifest.separator_bias:g}, but nothing is transcribed "
            f"into words: set it to 0, or give chunks and the label {SEPARATOR!r}"
        )
    _listed(manifest.samples.inputs, paths, f"{place}: samples")
    _listed(manifest.samples.labels, paths, f"{place}: samples")


def _check_output(output: TensorSpec, manifest: Manifest, place: str) -> None:
    labels, chunks = len(manifest.labels), manifest.chunks
    found = f"{place}: output {output.layout} {list(output.shape)}"
    if chunks is None:
        if output.layout != "NC" or output.shape[1] != labels:
            raise InputError(f"{found} must be NC [1, {labels}], one value per label")
        return
    check_chunks(chunks, place=place)
    least = chunks.window_samples // chunks.stride_samples
    sizes = dict(zip(output.layout, output.shape))
    if output.layout not in ("NCW", "NWC") or sizes["C"] != labels or sizes["W"] < least:
        raise InputError(
            f"{found} must be NCW or NWC with one value for each of {labels} symbols, and an "
            f"answer for each of the {least} strides of a window"
        )


def _unique(values: Iterable[str], place: str, what: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{place}: the {what} {value!r} is given twice")
        seen.add(value)


def _listed(path: str, paths: set[str], place: str) -> None:
    if path not in paths:
        raise InputError(f"{place}: file {path!r} is not listed in files")
