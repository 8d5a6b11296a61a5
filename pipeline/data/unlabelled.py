"""Examples of which nothing is asked: arrays for any inputs, or random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.examples import Dataset, Inputs, Split
from edgeticket.pipeline.data.recordings import Recordings
from edgeticket.pipeline.data.tensors import Tensors, channels_last
from edgeticket.pipeline.recipe import DataConfig

MOST_CALIBRATION = 300  # more examples hardly change the ranges
VALIDATION = 20  # random examples that int8 is looked at with before the end
WHOLE = ("int8", "uint8", "int16", "int32", "int64", "bool")


@dataclass(frozen=True)
class Drawn:
    """What random numbers are drawn for: one input of a network.

    ``below``: of whole numbers that are indices of a table, how many entries that has; None: it
    is not known.
    """

    name: str
    shape: tuple[int, ...]  # without the batch, as the network takes it
    is_whole: bool = False
    below: int | None = None


def random_dataset(cfg: DataConfig, inputs: Sequence[Drawn], *, seed: int) -> Dataset:
    """Random examples for every split, each drawn by itself: normal, or whole numbers.

    Args:
        cfg: says how many are carried by bundles (`random`), and perhaps how many calibrate.
        inputs: of the network.
        seed: decides all of them.
    """
    assert cfg.random is not None
    given = cfg.model_fields_set
    sizes = {
        "train": 1,
        "validation": cfg.validation if "validation" in given else VALIDATION,
        "calibration": cfg.calibration if "calibration" in given else min(cfg.random, 300),
        "test": cfg.random,
    }
    splits = {
        name: Split(_draw(inputs, size, (seed, number)), None)
        for number, (name, size) in enumerate(sizes.items())
    }
    return Dataset(
        cfg.title,
        splits["train"],
        splits["validation"],
        splits["calibration"],
        splits["test"],
        labels=(),
        preprocessing=(),
        random=seed,
    )


def _draw(inputs: Sequence[Drawn], count: int, seed: tuple[int, int]) -> Tensors:
    arrays = []
    for number, one in enumerate(inputs):
        rng = np.random.default_rng([*seed, number])
        shape = (count, *one.shape)
        array: npt.NDArray[Any]
        if one.is_whole:
            # Where nothing says what they are: 0 and 1 are in every table.
            array = rng.integers(0, one.below or 2, shape)
        else:
            array = rng.standard_normal(shape, dtype=np.float32)
        arrays.append(channels_last(array))
    return Tensors(tuple(arrays), tuple(one.name for one in inputs))


def arrays_dataset(
    arrays: Mapping[str, npt.NDArray[Any]], cfg: DataConfig, *, seed: int
) -> Dataset:
    """Arrays as networks take them, one for each input -> splits: half of the examples for the
    test, two fifths to calibrate, a tenth to look at before the end.

    Raises:
        InputError: they are no numbers, or not as many for each input.
    """
    title = cfg.title
    for name, array in arrays.items():
        if array.ndim < 1 or not (array.dtype == np.float32 or array.dtype.name in WHOLE):
            raise InputError(
                f"data.npz: {name} is {array.dtype} {list(array.shape)}: without labels, give an "
                "array of float32 or whole numbers for each input of the network, as it takes "
                "them, [N, C, H, W]"
            )
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise InputError(f"data.npz: {name} of {title} has numbers that are not finite")
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        raise InputError(
            f"data.npz: arrays of {title} have {sorted(counts)} examples: give as many for each "
            "input"
        )
    stored = Tensors(
        tuple(
            channels_last(array if array.dtype == np.float32 else array.astype(np.int64))
            for array in arrays.values()
        ),
        tuple(arrays),
    )
    return split_unlabelled(stored, cfg, seed=seed)


def split_unlabelled(
    stored: Inputs,
    cfg: DataConfig,
    *,
    seed: int,
    preprocessing: tuple[Mapping[str, Any], ...] = (),
    capture: tuple[Mapping[str, Any], ...] = (),
) -> Dataset:
    """Disjoint splits of examples without targets; see `arrays_dataset`.

    Raises:
        InputError: there are fewer than four, or than the recipe asks for.
    """
    if isinstance(stored, Recordings):
        raise InputError(
            f"data.labels: {cfg.title} are recordings of any length, which only networks that "
            "transcribe take: leave it out"
        )
    count = len(stored)
    if count < 4:
        raise InputError(f"{cfg.title} has {count} examples: give four at least")
    given = cfg.model_fields_set
    tenth = max(1, count // 10)
    sizes = {
        "validation": cfg.validation if "validation" in given else tenth,
        "calibration": cfg.calibration
        if "calibration" in given
        else min(MOST_CALIBRATION, max(1, count * 4 // 10)),
    }
    train = cfg.train if cfg.train is not None else 1
    left = count - sum(sizes.values()) - train
    sizes["test"] = min(left, cfg.test or left)
    if sizes["test"] < 1:
        raise InputError(
            f"data.validation {sizes['validation']} + data.calibration {sizes['calibration']} "
            f"+ data.train {train} leave none of {count} examples of {cfg.title} for the test: "
            "make them smaller"
        )
    order = np.random.default_rng([seed, 0]).permutation(count)
    whole = Split(stored, None)
    parts: dict[str, Split] = {}
    start = 0
    for name, size in (*sizes.items(), ("train", train)):
        parts[name] = whole.take(order[start : start + size])
        start += size
    return Dataset(
        cfg.title,
        parts["train"],
        parts["validation"],
        parts["calibration"],
        parts["test"],
        labels=(),
        preprocessing=preprocessing,
        capture=capture,
    )
