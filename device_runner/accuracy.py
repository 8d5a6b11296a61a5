"""All samples of a bundle through one artifact, and how often it is right."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.ctc import Decoder
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import Run
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.preprocess import preprocess, to_tensor
from edgeticket.device_runner.recordings import Transcripts, transcribe
from edgeticket.device_runner.report import Accuracy, Transcription
from edgeticket.device_runner.samples import Inputs, Labels
from edgeticket.device_runner.transcripts import character_error_rate, word_error_rate
from edgeticket.device_runner.unavailable import Unavailable

Outputs = npt.NDArray[Any]
"""[N, classes] or [N, frames, symbols]: int8 codes, or float32."""

CHUNK = 64  # samples that are prepared at a time: bounds the memory, changes no number
TOP5_CLASSES = 6  # with fewer, nearly everything is among the top five


def infer_all(
    run: Run,
    inputs: npt.NDArray[np.uint8],
    *,
    steps: Sequence[Mapping[str, Any]],
    artifact: Artifact,
) -> Outputs:
    """Samples as stored -> outputs [N, classes] or [N, frames, symbols], one query per sample.

    uint8 codes are returned as int8, 128 less, so that they compare with those of int8 files.

    Raises:
        InputError: the samples do not fit, or an output is not finite.
    """
    rows = []
    for start in range(0, len(inputs), CHUNK):
        values = preprocess(inputs[start : start + CHUNK], steps)
        tensor = to_tensor(values, artifact.input, place=artifact.id)
        rows += [run(tensor[i : i + 1]) for i in range(len(tensor))]
    outputs: Outputs = np.concatenate(rows)
    if artifact.output.layout == "NCW":
        outputs = np.ascontiguousarray(outputs.swapaxes(1, 2))
    if outputs.dtype == np.uint8:
        return (outputs.astype(np.int16) - 128).astype(np.int8)
    if not np.isfinite(outputs).all():
        sample = int(np.flatnonzero(~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1))[0])
        raise InputError(
            f"{artifact.id}: the outputs for sample {sample} are not finite: "
            "the model file is broken, or the samples are not for it"
        )
    return outputs


def judge(
    outputs: Outputs, inputs: Inputs, labels: Labels, *, symbols: Sequence[str], decoder: Decoder
) -> Accuracy | Transcription:
    """Outputs for samples -> how right they are.

    Args:
        outputs: as `infer_all` gives them.
        inputs: the samples as stored.
        labels: what they are.
        symbols: the manifest's labels, the blank first where they are decoded.
        decoder: of outputs with frames.
    """
    if isinstance(labels, Transcripts):
        return _transcribe(outputs, inputs, labels, symbols, decoder)
    return classify(outputs, inputs, labels)


def classify(outputs: Outputs, inputs: Inputs, labels: npt.NDArray[np.int64]) -> Accuracy:
    """Of equal outputs the lowest index is first."""
    # Widened before the sign changes: -(-128) does not fit int8.
    order = np.argsort(-outputs.astype(np.float64), axis=1, kind="stable")
    hits = order == labels[:, np.newaxis]
    classes = outputs.shape[1]
    return Accuracy(
        count=len(labels),
        top1=float(hits[:, 0].mean()),
        top5=float(hits[:, :5].any(axis=1).mean())
        if classes >= TOP5_CLASSES
        else Unavailable(f"top-5 says nothing about {classes} classes"),
        predictions=tuple(order[:, 0].tolist()),
        labels=tuple(labels.tolist()),
        outputs_sha256=hashlib.sha256(_little_endian(outputs)).hexdigest(),
        samples_sha256=hashlib.sha256(inputs.tobytes() + _little_endian(labels)).hexdigest(),
    )


def _transcribe(
    outputs: Outputs,
    inputs: Inputs,
    labels: Transcripts,
    symbols: Sequence[str],
    decoder: Decoder,
) -> Transcription:
    heard = tuple(transcribe(outputs, labels, symbols=symbols, decoder=decoder))
    said = labels.texts
    lines = "".join(f"{text}\n" for text in said).encode()
    return Transcription(
        count=len(said),
        seconds=labels.seconds,
        decoder=decoder.name,
        wer=word_error_rate(said, heard),
        cer=character_error_rate(said, heard),
        heard=heard,
        said=said,
        outputs_sha256=hashlib.sha256(_little_endian(outputs)).hexdigest(),
        samples_sha256=hashlib.sha256(inputs.tobytes() + lines).hexdigest(),
    )


def _little_endian(array: npt.NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
