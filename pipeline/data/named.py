"""Arrays with named targets: what somebody brings for a task of `device_runner.task`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.task import get_task
from edgeticket.pipeline.data.examples import Inputs, Split
from edgeticket.pipeline.data.given import pictures_of
from edgeticket.pipeline.data.targets import MOST_IN_ONE, Targets
from edgeticket.pipeline.data.tensors import Tensors, channels_last

Array = npt.NDArray[Any]

POOL, TEST = "train_", "test_"  # prefixes of names; the first may be missing


def target_names(task: Task) -> tuple[str, ...]:
    """What the arrays of its targets are called."""
    return tuple(name.rstrip("?") for name in get_task(task.name).targets)


def splits_of(arrays: Mapping[str, Array], task: Task, *, place: str) -> tuple[Split, Split | None]:
    """Named arrays -> pool, and test set as far as there is one.

    Arrays with the names of the task's targets are those; all others are inputs, one for each of
    the network's, in their order. ``test_`` before the name of each makes a test set.

    Raises:
        InputError: naming ``place`` and the array that is missing or something else.
    """
    pool, test = _parted(arrays, place)
    if not pool:
        raise InputError(f"{place} has {', '.join(arrays) or 'nothing'}, but no inputs")
    first = _split(pool, task, place=place)
    if not test:
        return first, None
    names = target_names(task)
    inputs, tested = ([n for n in part if n not in names] for part in (pool, test))
    if sorted(inputs) != sorted(tested):
        raise InputError(
            f"{place}: inputs are {', '.join(inputs)}, those of the test set "
            f"{', '.join(tested) or 'missing'}: give test_ for each"
        )
    second = _split({name: test[name] for name in test}, task, place=place, prefix=TEST)
    if _shapes(first.inputs) != _shapes(second.inputs):
        raise InputError(
            f"{place}: inputs are {_shapes(first.inputs)}, those of the test set "
            f"{_shapes(second.inputs)}: make them one shape"
        )
    return first, second


def check_targets(targets: Targets, *, place: str, is_pool: bool = False) -> None:
    """Look at targets before anything is trained; those of a pool are never judged as a whole.

    Raises:
        InputError: with ``place``, the array, and what is wrong.
    """
    kind = get_task(targets.task.name)
    settings = kind.settings.from_json(dict(targets.task.settings))
    whole = targets.task.name != "embeddings" or "pairs" in targets.arrays or not is_pool
    try:
        if whole:
            kind.check(dict(targets.arrays), settings, targets.count)
            _check_boxes(targets)
            return
        for start in range(0, targets.count, AT_A_TIME):
            some = targets.take(np.arange(targets.count)[start : start + AT_A_TIME])
            kind.check(dict(some.arrays), settings, some.count)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _check_boxes(targets: Targets) -> None:
    """
    Raises:
        InputError: a picture has more boxes than any has.
    """
    if targets.task.name != "boxes":
        return
    counts = np.bincount(targets.arrays["sample"], minlength=1)
    most = int(counts.argmax())
    if counts[most] > MOST_IN_ONE:
        raise InputError(
            f"targets: sample {most} has {counts[most]:,} boxes, more than {MOST_IN_ONE:,}: leave "
            "it out, or cut it into several"
        )


# Of the tasks whose other arrays have rows for something else than examples.
PER_EXAMPLE = {"boxes": ("size",), "embeddings": ("identity",)}
AT_A_TIME = 1000  # examples whose identities are checked together: pairs are their square


def _parted(arrays: Mapping[str, Array], place: str) -> tuple[dict[str, Array], dict[str, Array]]:
    """By their prefixes: of the pool, of the test set."""
    pool: dict[str, Array] = {}
    test: dict[str, Array] = {}
    for name, array in arrays.items():
        part = test if name.startswith(TEST) else pool
        plain = name.removeprefix(TEST).removeprefix(POOL)
        if plain in part:
            raise InputError(f"{place} has both {plain} and {POOL}{plain}: give one of them")
        part[plain] = np.asarray(array)
    return pool, test


def _split(arrays: Mapping[str, Array], task: Task, *, place: str, prefix: str = "") -> Split:
    names = target_names(task)
    inputs = {name: array for name, array in arrays.items() if name not in names}
    if not inputs:
        raise InputError(f"{place} has {', '.join(arrays)}, but no {prefix}inputs")
    counts = {name: len(array) if array.ndim else 0 for name, array in inputs.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{prefix}{name} {count}" for name, count in counts.items())
        raise InputError(f"{place}: examples are not as many in each input ({told})")
    stored = inputs_of(inputs, place=place, prefix=prefix)
    if len(stored) == 0:
        raise InputError(f"{place}: {prefix}inputs have no examples")
    right = {
        name: _plain(array, f"{place}: {prefix}{name}")
        for name, array in arrays.items()
        if name in names
    }
    counted = [
        len(a) if a.ndim else 0 for n, a in right.items() if n in PER_EXAMPLE.get(task.name, right)
    ]
    if any(count != len(stored) for count in counted):
        told = ", ".join(f"{prefix}{name} {len(a) if a.ndim else 0}" for name, a in right.items())
        raise InputError(
            f"{place}: there are {len(stored)} {prefix}inputs, but other numbers of targets "
            f"({told})"
        )
    return Split(stored, None, targets=Targets(task, right, len(stored)))


def inputs_of(inputs: Mapping[str, Array], *, place: str, prefix: str = "") -> Inputs:
    """One array of uint8 is pictures; all others are what the network takes, channels first.

    Raises:
        InputError: an array that holds something else, or numbers that are not finite.
    """
    ((name, only), *others) = inputs.items()
    if not others and only.dtype == np.uint8 and only.ndim in (3, 4):
        return pictures_of(only, place=place, name=f"{prefix}{name}")
    arrays = []
    for name, array in inputs.items():
        real = array.dtype.kind == "f"
        if array.ndim < 1 or (not real and array.dtype.kind not in "iub"):
            raise InputError(
                f"{place}: {prefix}{name} is {array.dtype} {list(array.shape)}: give uint8 "
                "pictures [N, H, W, C], or for each input of the network float32 or whole numbers "
                "as it takes them, [N, C, H, W]"
            )
        if real and not np.isfinite(array).all():
            at = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))[0])
            raise InputError(
                f"{place}: {prefix}{name} has a number that is not finite in example {at}"
            )
        arrays.append(channels_last(array.astype(np.float32 if real else np.int64)))
    return Tensors(tuple(arrays), tuple(inputs))


def _plain(array: Array, what: str) -> Array:
    """
    Raises:
        InputError: it holds something else than numbers.
    """
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} is {array.dtype}: targets are numbers")
    return array


def _shapes(inputs: Inputs) -> tuple[tuple[int, ...], ...]:
    return inputs.shapes if isinstance(inputs, Tensors) else (inputs.shape[1:],)
