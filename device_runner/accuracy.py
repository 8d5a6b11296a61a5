"""All samples of a bundle through one artifact, and how often it is right, where that is asked."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.ctc import Decoder
from edgeticket.device_runner.latency import Run
from edgeticket.device_runner.manifest import Artifact, InputSpec
from edgeticket.device_runner.outputs import CHUNK, answers
from edgeticket.device_runner.recordings import Transcripts, transcribe
from edgeticket.device_runner.report import (
    Accuracy,
    PerSample,
    TaskScores,
    Transcription,
    Unlabelled,
)
from edgeticket.device_runner.task import Tally, Task
from edgeticket.device_runner.transcripts import character_error_rate, word_error_rate
from edgeticket.device_runner.unavailable import Unavailable

__all__ = [
    "CHUNK",
    "TOP5_CLASSES",
    "CheckSums",
    "as_judged",
    "classify",
    "infer_all",
    "judge",
    "tell_scores",
    "tell_unlabelled",
]

Outputs = npt.NDArray[Any]
"""[N, classes] or [N, frames, symbols]: int8 codes, or float32."""

TOP5_CLASSES = 6  # with fewer, nearly everything is among the top five


def infer_all(
    run: Run,
    inputs: npt.NDArray[Any],
    *,
    steps: Sequence[Mapping[str, Any]],
    artifact: Artifact,
) -> Outputs:
    """Samples as stored -> outputs [N, classes] or [N, frames, symbols], one query per sample.

    Of an artifact with one input and one output, by a ``run`` of both; uint8 codes are returned as
    int8, 128 less, so that they compare with those of int8 files.

    Raises:
        InputError: as `device_runner.outputs.answers`.
    """
    described = [InputSpec("input", "", preprocessing=tuple(steps))]
    rows = answers(lambda x: (run(x[0]),), [inputs], described=described, artifact=artifact)
    return as_judged(np.stack([row for (row,) in rows]), artifact)


def as_judged(outputs: npt.NDArray[Any], artifact: Artifact) -> Outputs:
    """Outputs [N, ...] of `device_runner.outputs` -> frames before symbols."""
    if artifact.output.layout in ("NCW", "NWC"):
        return np.ascontiguousarray(outputs.swapaxes(1, 2))
    return outputs


def judge(
    outputs: Outputs,
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[np.int64] | Transcripts,
    *,
    symbols: Sequence[str],
    decoder: Decoder,
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


class CheckSums:
    """Gathers outputs that are too large to be told: a check sum of each sample, a hash of all."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._hash = hashlib.sha256()

    def add(self, row: Sequence[npt.NDArray[Any]]) -> None:
        """Add the outputs for one sample, as `device_runner.outputs` gives them."""
        total = 0
        for output in row:
            data = little_endian(output)
            total = zlib.crc32(data, total)
            self._hash.update(data)
        self._sums.append(total)

    @property
    def samples(self) -> tuple[int, ...]:
        """The check sum of each sample, CRC-32."""
        return tuple(self._sums)

    @property
    def sha256(self) -> str:
        """Of all outputs, in hex."""
        return self._hash.hexdigest()


def tell_unlabelled(
    sums: CheckSums, inputs: Sequence[npt.NDArray[Any]], *, random: int | None
) -> Unlabelled:
    """What there is to tell where nothing is asked; ``inputs`` are the samples as stored, with the
    seed of random ones."""
    stored = hashlib.sha256()
    for one in inputs:
        _add_array(stored, one)
    return Unlabelled(
        count=len(sums.samples),
        random=random,
        sample_crc32=sums.samples,
        outputs_sha256=sums.sha256,
        samples_sha256=stored.hexdigest(),
    )


def tell_scores(
    tally: Tally,
    sums: CheckSums,
    inputs: Sequence[npt.NDArray[Any]],
    *,
    task: Task,
    settings: Mapping[str, Any],
) -> TaskScores:
    """The metrics of a task, of a ``tally`` that has seen all samples; ``settings`` are those of
    the manifest."""
    assert task.headline is not None
    stored = hashlib.sha256()
    for one in inputs:
        _add_array(stored, one)
    for name in sorted(tally.targets):
        stored.update(f"{name} ".encode())
        _add_array(stored, tally.targets[name])
    metrics, ratio = tally.metrics(), tally.per_sample()
    return TaskScores(
        task=task.name,
        settings=settings,
        count=tally.count,
        headline=task.headline,
        metrics=metrics,
        per_sample=ratio if isinstance(ratio, Unavailable) else PerSample(*map(tuple, ratio)),
        resampled=tally.resampled(),
        sample_crc32=sums.samples,
        outputs_sha256=sums.sha256,
        samples_sha256=stored.hexdigest(),
    )


def _add_array(digest: Any, array: npt.NDArray[Any]) -> None:
    digest.update(f"{array.dtype} {array.shape}".encode())
    digest.update(little_endian(array))


def classify(outputs: Outputs, inputs: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> Accuracy:
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
        outputs_sha256=hashlib.sha256(little_endian(outputs)).hexdigest(),
        samples_sha256=hashlib.sha256(inputs.tobytes() + little_endian(labels)).hexdigest(),
    )


def _transcribe(
    outputs: Outputs,
    inputs: npt.NDArray[Any],
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
        outputs_sha256=hashlib.sha256(little_endian(outputs)).hexdigest(),
        samples_sha256=hashlib.sha256(inputs.tobytes() + lines).hexdigest(),
    )


def little_endian(array: npt.NDArray[Any]) -> bytes:
    """The numbers of an array, in its order, the same on every machine."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
