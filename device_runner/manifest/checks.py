"""What a schema cannot say of a manifest: its parts must agree."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgeticket.device_runner.ctc import SEPARATOR
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest.fields import Artifact, Manifest, TensorSpec
from edgeticket.device_runner.manifest.tasks import check_task
from edgeticket.device_runner.unavailable import Unavailable

CODE_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}
DTYPES = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")
# Batch, channels, depth, height, width; W alone counts the frames of a sequence. `plain`: the order
# is the same in every artifact, and no axis is known to be the channels.
LAYOUTS = ("NCHW", "NHWC", "NCW", "NWC", "NC", "NCDHW", "NDHWC", "plain")


def check_manifest(manifest: Manifest, place: str) -> None:
    """Names must be unique or lead somewhere; artifacts must fit inputs, outputs and task.

    Raises:
        InputError: the first thing that does not.
    """
    paths = {entry.path for entry in manifest.files}
    _unique((entry.path for entry in manifest.files), f"{place}: files", "path")
    for path in paths:
        check_path(path, place=f"{place}: files")
    if "manifest.json" in paths:
        raise InputError(f"{place}: files lists manifest.json, which cannot hold its own hash")
    _unique((artifact.id for artifact in manifest.artifacts), f"{place}: artifacts", "id")
    _unique((one.name for one in manifest.inputs), f"{place}: inputs", "name")
    _unique(manifest.outputs, f"{place}: outputs", "name")
    for artifact in manifest.artifacts:
        _check_artifact(artifact, manifest, f"{place}: artifact {artifact.id}", paths)
    check_task(manifest, place)
    if manifest.separator_bias and (manifest.chunks is None or SEPARATOR not in manifest.labels):
        raise InputError(
            f"{place}: separator_bias is {manifest.separator_bias:g}, but nothing is transcribed "
            f"into words: set it to 0, or give chunks and the label {SEPARATOR!r}"
        )
    for one in manifest.inputs:
        _listed(one.samples, paths, f"{place}: input {one.name}")
    if manifest.samples.targets is not None:
        _listed(manifest.samples.targets, paths, f"{place}: samples")
    _check_references(manifest, place, paths)
    _check_proof(manifest, place, paths)


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
    if spec.layout != "plain" and (len(spec.shape) != len(spec.layout) or spec.shape[0] != 1):
        raise InputError(
            f"{place}: shape {list(spec.shape)} does not fit layout {spec.layout} with a batch of 1"
        )
    if spec.scale is None and spec.zero_point is None:
        return
    if spec.dtype == "float32":
        raise InputError(f"{place}: float32 has neither scale nor zero_point: set both to null")
    if spec.dtype not in CODE_RANGES:
        raise InputError(
            f"{place}: {spec.dtype} has neither scale nor zero_point: its numbers are themselves; "
            "set both to null"
        )
    low, high = CODE_RANGES[spec.dtype]
    if spec.scale is None or spec.zero_point is None or not low <= spec.zero_point <= high:
        raise InputError(
            f"{place}: {spec.dtype} needs a scale and a zero_point from {low} to {high}, "
            f"not {spec.scale} and {spec.zero_point}"
        )


def _check_artifact(artifact: Artifact, manifest: Manifest, at: str, paths: set[str]) -> None:
    _listed(artifact.file, paths, at)
    if artifact.network not in manifest.networks:
        known = ", ".join(manifest.networks) or "none"
        raise InputError(f"{at}: network {artifact.network!r} is not in networks ({known})")
    for what, specs, count in (
        ("input", artifact.inputs, len(manifest.inputs)),
        ("output", artifact.outputs, len(manifest.outputs)),
    ):
        if len(specs) != count:
            raise InputError(f"{at}: it has {len(specs)} {what}s, but the manifest names {count}")
        _unique((spec.name for spec in specs), f"{at}: {what}s", "name")
        for spec in specs:
            check_tensor(spec, place=f"{at}: {what} {spec.name}" if count > 1 else f"{at}: {what}")


def _check_references(manifest: Manifest, place: str, paths: set[str]) -> None:
    if manifest.references is None:
        return
    for name, stored in manifest.references.networks.items():
        at = f"{place}: references of {name}"
        if name not in manifest.networks:
            raise InputError(f"{at}: there is no such network")
        if len(stored.files) != len(manifest.outputs):
            raise InputError(
                f"{at}: {len(stored.files)} files for {len(manifest.outputs)} outputs: one each"
            )
        for path in stored.files:
            _listed(path, paths, at)


def _check_proof(manifest: Manifest, place: str, paths: set[str]) -> None:
    if manifest.proof is None:
        return
    ids = {artifact.id for artifact in manifest.artifacts}
    for name, proof in manifest.proof.artifacts.items():
        at = f"{place}: proof of {name}"
        if name not in ids:
            raise InputError(f"{at}: there is no such artifact")
        if isinstance(proof, Unavailable):
            continue
        for what, count in (("files", len(proof.files)), ("tolerances", len(proof.tolerances))):
            if count != len(manifest.outputs):
                raise InputError(
                    f"{at}: {count} {what} for {len(manifest.outputs)} outputs: one each"
                )
        if proof.exact and any(proof.tolerances):
            raise InputError(f"{at}: it is exact, but has tolerances above 0")
        for path in proof.files:
            _listed(path, paths, at)


def _unique(values: Iterable[str], place: str, what: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{place}: the {what} {value!r} is given twice")
        seen.add(value)


def _listed(path: str, paths: set[str], place: str) -> None:
    if path not in paths:
        raise InputError(f"{place}: file {path!r} is not listed in files")
