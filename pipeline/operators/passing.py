"""How channels pass through operators: the rules that entries of the table name.

A rule is called with the flow, an operator and its kind, once all before it is followed. It ties
what can only go together, says what has to stay and why, and puts tracks on the output. Rules for
layers are in `passing_layers`, those that move numbers in `passing_axes`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from edgeticket.pipeline.graph.channel_flow import ChannelFlow, Part, Track, place
from edgeticket.pipeline.graph.graph import Array, Operator
from edgeticket.pipeline.operators.kind import Kind

SAMPLES = (0.7, -1.3, 2.1)  # stand for numbers that are not 0, and not known


def stop(flow: ChannelFlow, operator: Operator, why: str) -> None:
    """Let everything that an operator reads stay."""
    for name in filter(None, operator.inputs):
        flow.protect_value(name, why)


def unknown(flow: ChannelFlow, operator: Operator, kind: Kind | None) -> None:
    """Nothing is known of it, so all that it reads stays."""
    stop(flow, operator, f"is read by {place(operator)}, through which channels are not followed")


def pointwise(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Number by number; operands are aligned at the end, and axes of size 1 repeated."""
    names = [name for name in operator.inputs if name]
    rank = len(flow.shape(operator.output))
    for axis in range(rank):
        size = flow.shape(operator.output)[axis]
        own = [(name, axis - rank + len(flow.shape(name))) for name in names]
        full = [(name, i) for name, i in own if i >= 0 and flow.shape(name)[i] == size]
        if size > 1:
            _joined_along(flow, operator, kind, axis, full)


def _joined_along(
    flow: ChannelFlow, operator: Operator, kind: Kind, axis: int, operands: list[tuple[str, int]]
) -> None:
    tracks = {name: t for name, i in operands if (t := flow.track(name, i)) is not None}
    if not tracks:
        return
    first = next(iter(tracks.values()))
    where = place(operator)
    zero: dict[str, Array] = {name: track.zero for name, track in tracks.items()}
    stored: list[tuple[str, int]] = []
    for name, i in operands:
        if name in tracks:
            flow.tie(first.labels, tracks[name].labels, f"meets what stays, in {where}")
        elif not flow.is_stored(name):
            flow.protect(first.labels.tolist(), f"meets what stays, in {where}")
        elif flow.parameters.origin(name, i) is not None:
            stored.append((name, i))
        elif not flow.is_uniform(name, i):
            flow.protect(first.labels.tolist(), f"meets stored numbers by their place, in {where}")
    becomes = _zero_behind(flow, operator, kind, zero, len(first.labels))
    part = Part.SCALES
    if stored and not becomes.all():
        with_stored = zero | {name: np.ones(len(first.labels), bool) for name, _ in stored}
        masked = _zero_behind(flow, operator, kind, with_stored, len(first.labels))
        if (masked != becomes).any():
            part, becomes = Part.WRITES, masked
    for name, i in stored:
        labels = flow.stored(name, i, part, operator)
        assert labels is not None
        flow.tie(first.labels, labels, f"meets what stays, in {where}")
    # The last place where zeros were lost is the one to name.
    earlier = [track.broken for track in tracks.values() if not track.zero.all()]
    broken = "" if becomes.all() else next(iter(earlier), where)
    flow.put(operator.output, axis, Track(first.labels, becomes, broken))


def _zero_behind(
    flow: ChannelFlow, operator: Operator, kind: Kind, zero: dict[str, Array], size: int
) -> Array:
    """For each place, whether the operator gives 0 where the named operands are 0 as said."""
    result = np.zeros(size, bool)
    flags = np.stack([zero[name] for name in zero])
    for pattern in {tuple(column) for column in flags.T.tolist()}:
        operands = dict(zip(zero, pattern, strict=True))
        if _gives_zero(
            flow, operator, kind, {name for name, is_zero in operands.items() if is_zero}
        ):
            result |= np.equal(flags.T, pattern).all(1)
    return result


def _gives_zero(flow: ChannelFlow, operator: Operator, kind: Kind, zero: set[str]) -> bool:
    choices: list[Sequence[float]] = []
    for name in operator.inputs:
        if name in zero:
            choices.append((0.0,))
        elif name and flow.is_stored(name) and _is_one_number(flow.graph.constants[name].data):
            choices.append((float(flow.graph.constants[name].data.reshape(-1)[0]),))
        else:
            choices.append(SAMPLES)
    for numbers in itertools.product(*choices):
        operands = [np.array([number], np.float32) for number in numbers]
        try:
            result = flow.evaluate(kind.meaning, operator, operands)
        except Exception:  # an operator on something else than real numbers
            return False
        if not (result == 0).all():
            return False
    return True


def _is_one_number(data: Array) -> bool:
    return data.size > 0 and bool((data == data.reshape(-1)[0]).all())


def windowed(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Windows over all axes but the first two, whose numbers stay apart."""
    (name, *_) = operator.inputs
    along(flow, operator, mixed=range(2, len(flow.shape(name))))


def along(
    flow: ChannelFlow, operator: Operator, *, mixed: Sequence[int], keeps_zero: bool = True
) -> None:
    """Numbers are combined along the ``mixed`` axes alone; the others pass as they are."""
    (name, *_) = operator.inputs
    for axis in range(len(flow.shape(name))):
        track = flow.track(name, axis)
        if track is None:
            continue
        if axis in mixed:
            flow.protect(track.labels.tolist(), f"is combined with others by {place(operator)}")
        elif keeps_zero:
            flow.put(operator.output, axis, track)
        else:
            lost = np.zeros(len(track.labels), bool)
            flow.put(operator.output, axis, Track(track.labels, lost, place(operator)))


def last_axis_shares(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """A softmax over the last axis."""
    along(flow, operator, mixed=[len(flow.shape(operator.inputs[0])) - 1], keeps_zero=False)


def accumulated(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Sums of all numbers before, along one axis."""
    rank = len(flow.shape(operator.inputs[0]))
    along(flow, operator, mixed=[operator.attributes["axis"] % rank])


def normalised(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """A layer norm of the last axis: zeros stay zeros where nothing is added."""
    name, _, *bias = operator.inputs
    added = bool(bias) and bool(flow.graph.constants[bias[0]].data.any())
    along(flow, operator, mixed=[len(flow.shape(name)) - 1], keeps_zero=not added)


def reduced(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Axes are summed up, averaged, or give their extreme: only a sum does not miss zeros."""
    (name, *_) = operator.inputs
    axes = operator.attributes["axes"]
    keeps = bool(operator.attributes["keepdims"])
    for axis in range(len(flow.shape(name))):
        track = flow.track(name, axis)
        if track is None:
            continue
        if axis not in axes:
            gone = 0 if keeps else sum(a < axis for a in axes)
            flow.put(operator.output, axis - gone, track)
        elif operator.kind == "ReduceSum":
            flow.need_zero(track, place(operator))
        else:
            flow.protect(track.labels.tolist(), f"is combined with others by {place(operator)}")


def placed(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """The place of the largest number along an axis: all of them count."""
    stop(flow, operator, f"is compared with others by {place(operator)}")


def multiplied(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """A product of two computed matrices: what is summed up stays, as its size scales the sum."""
    left, right = operator.inputs
    rank = len(flow.shape(operator.output))
    why = f"is multiplied with another value by {place(operator)}"
    for name, axis in ((left, rank - 1), (right, rank - 2)):
        if flow.is_stored(name):
            flow.protect_value(name, why)
        elif (track := flow.track(name, axis)) is not None:
            flow.protect(track.labels.tolist(), why)
    for axis in range(rank):
        names = {rank - 2: (left,), rank - 1: (right,)}.get(axis, (left, right))
        tracks = [flow.track(n, axis) for n in names if not flow.is_stored(n)]
        given = [track for track in tracks if track is not None]
        if not given:
            continue
        if len(given) < len(names):
            flow.protect(given[0].labels.tolist(), f"meets what stays, in {place(operator)}")
            continue
        zero = given[0].zero
        for track in given[1:]:
            flow.tie(given[0].labels, track.labels, f"meets what stays, in {place(operator)}")
            zero = zero | track.zero
        flow.put(operator.output, axis, Track(given[0].labels, zero, given[0].broken))


def unchanged(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """The same numbers under another name or type."""
    along(flow, operator, mixed=[])
