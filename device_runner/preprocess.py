"""From stored samples to the numbers a model file takes: the only implementation, host included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.log_mel import log_mel
from edgeticket.device_runner.manifest import CODE_RANGES, InputSpec, TensorSpec
from edgeticket.device_runner.picture_steps import STEPS
from edgeticket.device_runner.pictures import Pictures

Values = npt.NDArray[np.float32]
Inputs = npt.NDArray[Any]
"""Stored samples: uint8 or float32, channels last, or int16 waveforms [N, samples]."""


def preprocess(inputs: Inputs, steps: Sequence[Mapping[str, Any]]) -> Values:
    """Apply the manifest's ``preprocessing``: stored samples -> float32, channels last.

    Steps on pictures (`capture`) come first, those on numbers behind them.

    Raises:
        InputError: inputs of another dtype or rank, an unknown step, or a step that does not
            fit the inputs.
    """
    ranks = {"uint8": (2, 3, 4), "float32": (2, 3, 4), "int16": (2,)}
    if inputs.ndim not in ranks.get(inputs.dtype.name, ()):
        raise InputError(
            f"inputs are {inputs.dtype} {list(inputs.shape)}: they must be uint8 or float32, "
            "[N, H, W, C], [N, W, C] or [N, C], or int16 [N, samples]"
        )
    pictures = [step for step in steps if step["op"] in STEPS]
    if list(steps[: len(pictures)]) != pictures:
        raise InputError("preprocessing: steps on pictures come before steps on numbers")
    values: Values = capture(inputs, pictures).astype(np.float32)
    for step in steps[len(pictures) :]:
        name = step["op"]
        if name not in PREPROCESSING:
            known = ", ".join(sorted(PREPROCESSING.keys() | STEPS.keys()))
            raise InputError(f"preprocessing: unknown op {name!r} (known: {known})")
        values = PREPROCESSING[name](values, step)
    return values


def capture(pictures: Inputs, steps: Sequence[Mapping[str, Any]]) -> Inputs:
    """Apply the manifest's ``capture``: decoded pictures -> stored samples, uint8 [N, H, W, C].

    Raises:
        InputError: no such pictures, an unknown step, or a step that does not fit them.
    """
    for step in steps:
        if step["op"] not in STEPS:
            known = ", ".join(sorted(STEPS))
            raise InputError(f"capture: unknown op {step['op']!r} (known: {known})")
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or 0 in pictures.shape:
            raise InputError(
                f"preprocessing: {step['op']} takes uint8 [N, H, W, C], not {pictures.dtype} "
                f"{list(pictures.shape)}"
            )
        changed: Pictures = STEPS[step["op"]](pictures, step)
        pictures = changed
    return pictures


def to_tensor(values: Values, spec: TensorSpec, *, place: str = "input") -> npt.NDArray[Any]:
    """Real values, channels last -> what the graph input takes, [N, ...] C-contiguous.

    Integers follow ONNX QuantizeLinear: float32 division, round half to even, add the zero
    point, saturate. ``place`` is what errors call the receiver.

    Raises:
        InputError: the values do not fit ``spec.shape``.
    """
    ordered = _ordered(values, spec, place)
    if spec.scale is None or spec.zero_point is None:
        return np.ascontiguousarray(ordered, dtype=np.float32)
    low, high = CODE_RANGES[spec.dtype]
    # float32 holds whole numbers exactly up to 2^24; beyond that everything saturates anyway.
    codes = np.rint(ordered / np.float32(spec.scale)) + np.float32(spec.zero_point)
    return np.ascontiguousarray(np.clip(codes, low, high).astype(spec.dtype))


def prepare(
    stored: Sequence[npt.NDArray[Any]],
    described: Sequence[InputSpec],
    specs: Sequence[TensorSpec],
    *,
    place: str,
) -> tuple[npt.NDArray[Any], ...]:
    """Samples of every input as stored -> what the graph inputs take, [N, ...] each.

    Whole numbers (tokens, raw pixels) of an input without a scale go in as they are.

    Raises:
        InputError: they do not fit; ``place`` and the input are named.
    """
    at = [place if len(specs) == 1 else f"{place}: input {spec.name}" for spec in specs]
    return tuple(
        _prepared(values, one.preprocessing, spec, place=name)
        for values, one, spec, name in zip(stored, described, specs, at)
    )


def query_of(
    tensors: Sequence[npt.NDArray[Any]], specs: Sequence[TensorSpec], index: int
) -> tuple[npt.NDArray[Any], ...]:
    """Sample ``index`` of what `prepare` gave, each with the batch of 1 where its input has one."""
    return tuple(
        tensor[index : index + 1] if spec.has_batch else tensor[index]
        for tensor, spec in zip(tensors, specs)
    )


def _prepared(
    stored: npt.NDArray[Any],
    steps: Sequence[Mapping[str, Any]],
    spec: TensorSpec,
    *,
    place: str,
) -> npt.NDArray[Any]:
    if spec.scale is not None or spec.dtype == "float32":
        if not steps and stored.dtype == np.float32:
            return to_tensor(stored, spec, place=place)
        return to_tensor(preprocess(stored, steps), spec, place=place)
    if steps or stored.dtype.kind not in "iub":
        raise InputError(
            f"{place} takes whole numbers ({spec.dtype}) as they are, without preprocessing, and "
            f"samples are {stored.dtype}: give them as {spec.dtype}"
        )
    ordered = _ordered(stored, spec, place)
    numbers = np.ascontiguousarray(ordered.astype(spec.dtype))
    if not np.array_equal(numbers, ordered):
        raise InputError(f"{place} takes {spec.dtype}, and a sample has numbers beyond that")
    return numbers


def _ordered(values: npt.NDArray[Any], spec: TensorSpec, place: str) -> npt.NDArray[Any]:
    """Channels where the model has them.

    Raises:
        InputError: another shape than that of ``spec``.
    """
    ordered = np.moveaxis(values, -1, 1) if spec.layout in ("NCHW", "NCW", "NCDHW") else values
    if spec.layout == "NC":
        ordered = values.reshape(len(values), -1)
    if ordered.shape[1:] != spec.sample_shape:
        raise InputError(
            f"{place}: samples give shape {list(ordered.shape[1:])}, "
            f"the model takes {list(spec.sample_shape)} ({spec.layout})"
        )
    return ordered


def _normalize(values: Values, step: Mapping[str, Any]) -> Values:
    mean = np.asarray(step["mean"], dtype=np.float32)
    std = np.asarray(step["std"], dtype=np.float32)
    channels = values.shape[-1]
    if mean.shape != (channels,) or std.shape != (channels,):
        raise InputError(
            f"preprocessing: normalize has {mean.size} mean and {std.size} std, "
            f"the samples have {channels} channels"
        )
    return np.divide(np.subtract(values, mean, out=values), std, out=values)


PREPROCESSING: dict[str, Callable[[Values, Mapping[str, Any]], Values]] = {
    "normalize": _normalize,
    "log_mel": log_mel,
}
