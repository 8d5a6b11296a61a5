"""Inputs that the second side takes otherwise than the first: scaled, ordered, laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.why.finding import Cause, Finding, Remedy
from edgeticket.pipeline.why.pair import Pair
from edgeticket.pipeline.why.trace import Match, sqnr_db

Array = npt.NDArray[Any]
Trial = Callable[[Array], Array]

# Noise a tenth as strong as the signal: int8, whose worst scales leave four bits, stays below.
PARTED_DB = 20.0
GAIN_DB = 10.0  # that another input must bring: a third of the error
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean, deviation; pixels 0..1
SCALINGS = (
    ("pixels divided by 255", 1 / 255, 0.0),
    ("pixels multiplied by 255", 255.0, 0.0),
    ("pixels of −1..1 from 0..1", 2.0, -1.0),
    ("pixels of 0..1 from −1..1", 0.5, 0.5),
    ("pixels of −1..1 from 0..255", 1 / 127.5, -1.0),
    ("pixels of 0..255 from −1..1", 127.5, 127.5),
    ("signs exchanged", -1.0, 0.0),
    ("128 taken off", 1.0, -128.0),
)
LAYERS_LOOKED_AT = 3


def find_input_mismatch(pair: Pair) -> Sequence[Finding]:
    """The second side prepares the same samples otherwise, or answers as the first on others."""
    return _by_their_steps(pair) or _by_trial(pair)


def _by_their_steps(pair: Pair) -> tuple[Finding, ...]:
    """Both say how they prepare the same samples, and the numbers differ."""
    if pair.given is None:
        return ()
    found = []
    for i, (x, y) in enumerate(zip(pair.inputs, pair.given, strict=True)):
        assert pair.second.file is not None
        spec = pair.second.file.inputs[i]
        # Of rounded inputs a difference counts that a code can show.
        visible = float(spec.scale) / 2 if spec.scale is not None else 1e-5 * float(np.abs(x).max())
        furthest = float(np.abs(x.astype(np.float64) - y).max())
        if furthest <= visible:
            continue
        one, other = pair.first.described[i], pair.second.described[i]
        found.append(
            Finding(
                Cause.INPUT,
                spec.name,
                f"the same samples become other inputs, by up to {furthest:.3g}: "
                f"{list(one.preprocessing)} and {list(other.preprocessing)}",
                {"largest_difference": furthest, "sqnr_db": sqnr_db(x, y)},
                _remedy("prepare samples as the first side does"),
            )
        )
    return tuple(found)


def _by_trial(pair: Pair) -> tuple[Finding, ...]:
    """Other inputs, of a list of usual mistakes, bring the first layers together."""
    if pair.retrace is None or not pair.inputs:
        return ()
    early = _early(pair.matches)
    if not early or _worst(early) >= PARTED_DB:
        return ()
    wanted = {match.first for match in early}
    end = pair.matches[-1].first
    before = _worst(early), _inner_db(pair.matches[-1])
    tried = []
    for name, change in _trials(pair.inputs[0]):
        matches = {m.first: m for m in pair.retrace([change(pair.inputs[0]), *pair.inputs[1:]])}
        common = [matches[key] for key in wanted if key in matches]
        if not common:
            continue
        # Of axes that were exchanged inner maps may stay exchanged, and the answer is right.
        ends = _inner_db(matches[end]) if end in matches else before[1]
        for was, now in zip(before, (_worst(common), ends), strict=True):
            if now >= max(was + GAIN_DB, PARTED_DB / 2):
                tried.append((now - was, now, was, name))
    if not tried:
        return ()
    _, after, was, name = max(tried)
    assert pair.second.file is not None
    return (
        Finding(
            Cause.INPUT,
            pair.second.file.inputs[0].name,
            f"with {name} they agree to {after:.1f} dB, as it is to {was:.1f} dB",
            {"mistake": name, "sqnr_db": was, "sqnr_db_with_it": after},
            _remedy(f"prepare its inputs with {name}"),
        ),
    )


def _remedy(says: str) -> Remedy:
    return Remedy(
        says + " (`data.mean` and `data.std` of a recipe, or `--mean`, `--std` and `--layout` of "
        "`edgeticket bundle`)"
    )


def _early(matches: Sequence[Match]) -> list[Match]:
    computed = [match for match in matches if match.ours[0].size > 1]
    return computed[:LAYERS_LOOKED_AT]


def _worst(matches: Sequence[Match]) -> float:
    return min(map(_inner_db, matches))


def _inner_db(match: Match) -> float:
    """SQNR, of maps without their borders: padding is another number where inputs are others."""
    cut = [slice(None)] * match.ours.ndim
    if match.ours.ndim == 4:
        for axis, size in enumerate(match.ours.shape[1:], 1):
            if match.ours.shape[1:].count(size) > 1 or axis > 1:
                cut[axis] = slice(size // 4, size - size // 4)
    return sqnr_db(match.ours[tuple(cut)], match.theirs[tuple(cut)])


def _trials(x: Array) -> Iterator[tuple[str, Trial]]:
    """Usual mistakes and what undoes them, for inputs [N, ...]."""
    channels = next((axis for axis in (-1, 1) if x.ndim == 4 and x.shape[axis] == 3), None)
    if channels is not None:
        yield "channels in the other order (RGB and BGR)", partial(np.flip, axis=channels)
    if x.ndim == 4:
        rows, columns = (1, 2) if channels == -1 else (2, 3)
        if x.shape[rows] == x.shape[columns]:
            exchange = partial(np.swapaxes, axis1=rows, axis2=columns)
            yield "height and width exchanged", exchange
        for title, axes in (("last", (0, 2, 3, 1)), ("first", (0, 3, 1, 2))):
            yield f"memory read as channels {title}", partial(_read_as, axes=axes)
            yield f"memory written as channels {title}", partial(_written_as, axes=axes)
    for title, factor, offset in SCALINGS:
        yield title, partial(_scaled, factor=np.float32(factor), offset=np.float32(offset))
    if channels is not None:
        shape = [1] * x.ndim
        shape[channels] = 3
        mean, std = (np.array(v, np.float32).reshape(shape) for v in IMAGENET)
        for name, top in (("pixels 0..1", 1.0), ("pixels 0..255", 255.0)):
            into = partial(_scaled, factor=1 / (std * np.float32(top)), offset=-mean / std)
            back = partial(_scaled, factor=std * np.float32(top), offset=mean * np.float32(top))
            yield f"ImageNet's mean and deviation, of {name}", into
            yield f"ImageNet's mean and deviation taken back, to {name}", back


def _scaled(x: Array, *, factor: Any, offset: Any) -> Array:
    return np.asarray(x * factor + offset)


def _read_as(x: Array, *, axes: Sequence[int]) -> Array:
    return np.ascontiguousarray(x.transpose(axes)).reshape(x.shape)


def _written_as(x: Array, *, axes: Sequence[int]) -> Array:
    return np.ascontiguousarray(x.reshape([x.shape[i] for i in axes])).transpose(np.argsort(axes))
