"""Arrays that somebody brings: a .npz file, or a function of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import is_regular
from edgeticket.models.imported import user_folders_first
from edgeticket.pipeline.data.classes import MOST_CLASSES
from edgeticket.pipeline.data.examples import Split

PREFIXES = ("train_", "")  # of the pool's arrays


def read_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    """A .npz file -> its arrays by name.

    Raises:
        InputError: it is damaged, or no plain file.
    """
    if not is_regular(file):
        raise InputError(f"data.npz: {file} is no plain file")
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
    except OSError as error:
        raise InputError(f"data.npz: cannot read {file}: {error.strerror or error}") from None
    except Exception as error:  # numpy has many kinds for what is damaged
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"data.npz: {file} is no whole .npz of plain arrays: {reason}") from None
    return arrays


def has_labels(arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Whether arrays are inputs with labels, as `check_arrays` wants them, or inputs alone."""
    return any(name in arrays for name in ("labels", "train_labels", "test_labels"))


def call_factory(
    make: Callable[..., Any], args: Mapping[str, Any], *, name: str
) -> dict[str, npt.NDArray[Any]]:
    """What somebody's function returns -> arrays by name.

    It returns a mapping of arrays, or (inputs, labels), or (inputs, labels, test_inputs,
    test_labels).

    Raises:
        InputError: it raises, or returns something else.
    """
    place = f"data.factory: {name}"
    try:
        with user_folders_first():
            made = make(**args)
    except Exception as error:
        told = " ".join(str(error).split())
        raise InputError(f"{place} raised {type(error).__name__}: {told}") from error
    names = ("inputs", "labels", "test_inputs", "test_labels")
    match made:
        case Mapping():
            arrays = dict(made)
        case tuple() if len(made) in (2, 4):
            arrays = dict(zip(names, made, strict=False))
        case _:
            raise InputError(
                f"{place} returned a {type(made).__name__}: it should return (inputs, labels), "
                f"or a mapping with {', '.join(names)}"
            )
    return {str(key): np.asarray(value) for key, value in arrays.items()}


def check_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], *, place: str
) -> tuple[Split, Split | None, tuple[str, ...] | None]:
    """Named arrays -> pool, test set, and names of the classes, as far as there are some.

    ``inputs`` are uint8 [N, H, W, C] or [N, H, W], ``labels`` whole numbers [N]; perhaps there are
    ``test_inputs`` and ``test_labels``; perhaps ``classes``, texts.

    Raises:
        InputError: naming ``place`` and the array that is missing or something else.
    """
    prefix = next((p for p in PREFIXES if f"{p}inputs" in arrays), None)
    if prefix is None:
        raise InputError(f"{place} has {', '.join(arrays) or 'nothing'}, but no inputs")
    pool = _split(arrays, prefix, place)
    test = _split(arrays, "test_", place) if "test_inputs" in arrays else None
    if test is not None and test.inputs.shape[1:] != pool.inputs.shape[1:]:
        raise InputError(
            f"{place}: test_inputs are {list(test.inputs.shape[1:])}, inputs "
            f"{list(pool.inputs.shape[1:])}: make them one shape, or say data.resize"
        )
    named = arrays.get("classes")
    if named is not None and named.ndim != 1:
        raise InputError(f"{place}: classes are {list(named.shape)}: they must be a list of names")
    names = tuple(str(n) for n in named.tolist()) if named is not None else None
    tops = [int(s.labels.max()) for s in (pool, test) if s is not None and s.labels is not None]
    largest = max(tops)
    if names is not None and largest >= len(names):
        raise InputError(f"{place}: labels go to {largest}, but classes names {len(names)}")
    return pool, test, names


def pictures_of(
    inputs: npt.NDArray[Any], *, place: str, name: str = "inputs"
) -> npt.NDArray[np.uint8]:
    """An array of pictures -> uint8 [N, H, W, C].

    Raises:
        InputError: it is none.
    """
    if inputs.dtype != np.uint8 or inputs.ndim not in (3, 4) or 0 in inputs.shape:
        raise InputError(
            f"{place}: {name} are {inputs.dtype} {list(inputs.shape)}: they must be uint8 "
            "[N, H, W, C], as pixels are stored; data.mean and data.std scale them"
        )
    if inputs.ndim == 3:
        inputs = inputs[..., np.newaxis]
    if inputs.shape[-1] > 4 >= inputs.shape[1]:
        raise InputError(
            f"{place}: {name} are {list(inputs.shape)}, which looks like channels first: "
            "give [N, H, W, C], transpose(0, 2, 3, 1)"
        )
    return np.ascontiguousarray(inputs)


def _split(arrays: Mapping[str, npt.NDArray[Any]], prefix: str, place: str) -> Split:
    inputs, key = arrays[f"{prefix}inputs"], f"{prefix}labels"
    if key not in arrays:
        raise InputError(f"{place}: {prefix}inputs have no {key}")
    labels = arrays[key]
    inputs = pictures_of(inputs, place=place, name=f"{prefix}inputs")
    if labels.dtype.kind not in "iu" or labels.shape != inputs.shape[:1]:
        raise InputError(
            f"{place}: {key} are {labels.dtype} {list(labels.shape)}: they must be whole numbers "
            f"[{len(inputs)}], the class of each input"
        )
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise InputError(
            f"{place}: {key} go from {labels.min()} to {labels.max()}: classes are numbered from 0"
        )
    return Split(inputs, labels.astype(np.int64))
