"""What artifacts answer, in one form for all runtimes: the same axes, the same codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Artifact, InputSpec, TensorSpec
from edgeticket.device_runner.preprocess import prepare, query_of

Array = npt.NDArray[Any]
Query = Callable[[Sequence[Array]], Sequence[Array]]

CHUNK = 64  # samples that are prepared at a time: bounds the memory, changes no number


def answers(
    query: Query,
    inputs: Sequence[Array],
    *,
    described: Sequence[InputSpec],
    artifact: Artifact,
    finite: bool = True,
) -> Iterator[tuple[Array, ...]]:
    """Samples as stored, one array [N, ...] for each input -> the outputs for each sample.

    An output has the axes of the network itself, channels first and without the batch; codes are
    int8, those of uint8 files being 128 less. ``finite``: others are refused.

    Raises:
        InputError: the samples do not fit, or an output is not finite.
    """
    for start in range(0, len(inputs[0]), CHUNK):
        chunk = [stored[start : start + CHUNK] for stored in inputs]
        tensors = prepare(chunk, described, artifact.inputs, place=artifact.id)
        for i in range(len(chunk[0])):
            found = query(query_of(tensors, artifact.inputs, i))
            yield tuple(
                as_network(
                    one,
                    spec,
                    place=f"{artifact.id}: {_title(artifact, spec)}",
                    at=start + i,
                    finite=finite,
                )
                for one, spec in zip(found, artifact.outputs)
            )


def as_network(
    output: Array, spec: TensorSpec, *, place: str, at: int, finite: bool = True
) -> Array:
    """One output of one query, as the runtime gives it -> the form of `answers`.

    Args:
        output: of the shape that ``spec`` has.
        spec: of the output.
        place, at: what errors call output and sample.
        finite: others are refused.

    Raises:
        InputError: it is not finite, or has another number of values than ``spec``.
    """
    wanted = math.prod(spec.sample_shape)
    if output.size != wanted:
        raise InputError(
            f"{place} for sample {at} are {output.size} numbers of shape {list(output.shape)}, the "
            f"bundle says {wanted}: outputs must have one size for all samples"
        )
    row: Array = output.reshape(spec.sample_shape)
    if spec.layout in ("NHWC", "NWC", "NDHWC"):
        row = np.ascontiguousarray(np.moveaxis(row, -1, 0))
    if row.dtype == np.uint8 and spec.scale is not None:
        row = (row.astype(np.int16) - 128).astype(np.int8)
    if finite and row.dtype.kind == "f" and not np.isfinite(row).all():
        raise InputError(
            f"{place} for sample {at} are not finite: "
            "the model file is broken, or the samples are not for it"
        )
    return row


def _title(artifact: Artifact, spec: TensorSpec) -> str:
    return "the outputs" if len(artifact.outputs) == 1 else f"the outputs {spec.name}"
