"""How channels pass where axes are merged, split, exchanged, sliced, joined, padded or shuffled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeticket.pipeline.graph.channel_flow import STAYS, ChannelFlow, Labels, Track, place
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators.kind import Kind
from edgeticket.pipeline.operators.passing import along


def transposed(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Axes in another order."""
    for axis, source in enumerate(operator.attributes["perm"]):
        flow.put(operator.output, axis, flow.track(operator.inputs[0], source))


def reshaped(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Axes are merged, or split: then channels go together that share a place in the larger part.

    So all heads, groups or blocks lose the same of their channels. Where a norm of each group
    reads it, whole groups go instead.
    """
    (name, *_) = operator.inputs
    source, target = flow.shape(name), flow.shape(operator.output)
    by_groups = any(op.kind == "LayerNormalization" for op in flow.readers(operator.output))
    for ins, outs in segments(source, target):
        tracked = [axis for axis in ins if flow.track(name, axis) is not None]
        if len(tracked) > 1:
            why = f"is merged with other channels by {place(operator)}"
            for axis in tracked:
                flow.protect(flow.labels(name, axis).tolist(), why)
        elif tracked:
            _split(flow, operator, tracked[0], ins, outs, outermost=by_groups)


def _split(
    flow: ChannelFlow,
    operator: Operator,
    tracked: int,
    ins: Sequence[int],
    outs: Sequence[int],
    *,
    outermost: bool,
) -> None:
    (name, *_) = operator.inputs
    track = flow.track(name, tracked)
    assert track is not None
    sizes = [flow.shape(name)[axis] for axis in ins]
    wanted = [flow.shape(operator.output)[axis] for axis in outs]
    if not wanted:
        return
    column = [-1 if axis == tracked else 1 for axis in ins]
    labels = np.broadcast_to(track.labels.reshape(column), sizes).reshape(wanted)
    zero = np.broadcast_to(track.zero.reshape(column), sizes).reshape(wanted)
    varying = [i for i in range(len(outs)) if (labels != labels.take([0], i)).any()]
    candidates = varying or [int(np.argmax(wanted))]
    chosen = max(candidates, key=lambda i: (wanted[i], i))
    if outermost:
        chosen = candidates[0]
    others = tuple(i for i in range(len(outs)) if i != chosen)
    first = labels[tuple(slice(None) if i == chosen else slice(0, 1) for i in range(len(outs)))]
    if len(varying) > 1:
        flow.tie(labels, first, f"belongs to what stays, split by {place(operator)}")
    flow.put(
        operator.output,
        outs[chosen],
        Track(first.reshape(-1).copy(), np.asarray(zero.all(others)), track.broken),
    )


def segments(source: Sequence[int], target: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Runs of axes that hold the same numbers before and after a reshape."""
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        ins, outs = ([i] if i < len(source) else []), ([j] if j < len(target) else [])
        i, j = i + 1, j + 1
        while math.prod(source[a] for a in ins) != math.prod(target[b] for b in outs):
            if math.prod(source[a] for a in ins) < math.prod(target[b] for b in outs):
                ins.append(i)
                i += 1
            else:
                outs.append(j)
                j += 1
        runs.append((ins, outs))
    return runs


def joined(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Inputs one behind the other along one axis; along the others their places meet."""
    names, axis = operator.inputs, operator.attributes["axis"]
    for other in range(len(flow.shape(operator.output))):
        if other == axis:
            tracks = [_parts_of(flow, name, axis) for name in names]
            broken = next((t.broken for t in tracks if t.broken), "")
            flow.put(
                operator.output,
                axis,
                Track(
                    np.concatenate([t.labels for t in tracks]),
                    np.concatenate([t.zero for t in tracks]),
                    broken,
                ),
            )
        elif any(flow.track(name, other) is not None for name in names):
            _beside(flow, operator, other)


def _parts_of(flow: ChannelFlow, name: str, axis: int) -> Track:
    track = None if flow.is_stored(name) else flow.track(name, axis)
    if track is not None:
        return track
    size = flow.shape(name)[axis]
    return Track(np.full(size, STAYS, np.int64), np.zeros(size, bool))


def _beside(flow: ChannelFlow, operator: Operator, axis: int) -> None:
    first: Track | None = None
    zero = None
    why = f"meets what stays, in {place(operator)}"
    for name in operator.inputs:
        track = _parts_of(flow, name, axis)
        if flow.is_stored(name) and flow.shape(name)[axis] == 1:
            continue
        first = first or track
        zero = track.zero if zero is None else zero & track.zero
        flow.tie(first.labels, track.labels, why)
    assert first is not None
    assert zero is not None
    flow.put(operator.output, axis, Track(first.labels, zero, first.broken or place(operator)))


def sliced(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Part of an axis: alike parts lose the same of their channels, so that they stay alike."""
    (name, *_) = operator.inputs
    begin, size, steps = (operator.attributes[key] for key in ("begin", "size", "steps"))
    for axis, whole in enumerate(flow.shape(name)):
        track = flow.track(name, axis)
        if track is None:
            continue
        first, count, step = begin[axis], size[axis], steps[axis]
        taken = slice(first, first + (count - 1) * step + 1, step)
        why = f"is one of several parts by {place(operator)}, and another part stays"
        if step == 1 and whole % count == 0 and first % count == 0:
            rows = track.labels.reshape(-1, count)
            flow.tie(rows, rows[:1], why)
        elif step > 1 and whole == count * step and first < step:
            rows = track.labels.reshape(count, step)
            flow.tie(rows, rows[:, :1], why)
        else:
            flow.protect(track.labels.tolist(), f"is taken by its number, by {place(operator)}")
        flow.put(operator.output, axis, track.at(taken))


def gathered(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Stored indices of one axis, which name channels by their numbers."""
    along(flow, operator, mixed=[operator.attributes["axis"] % len(flow.shape(operator.inputs[0]))])


def padded(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """More places at the ends of axes; those are nobody's channels."""
    (name, *_) = operator.inputs
    before, after = operator.attributes["before"], operator.attributes["after"]
    constant = operator.attributes.get("mode", "constant") == "constant"
    filled = constant and operator.attributes.get("value", 0.0) != 0
    grown = [axis for axis in range(len(before)) if before[axis] or after[axis]]
    for axis in range(len(before)):
        track = flow.track(name, axis)
        if track is None:
            continue
        if axis in grown and not constant:
            flow.protect(track.labels.tolist(), f"is repeated beside itself by {place(operator)}")
            continue
        sides = before[axis], after[axis]
        zero = track.zero & (not filled or grown == [axis])
        broken = track.broken or place(operator)
        labels: Labels = np.pad(track.labels, sides, constant_values=STAYS)
        flow.put(operator.output, axis, Track(labels, np.pad(zero, sides), broken))


def shuffled(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Channels of blocks become positions: those that share a position's channel go together."""
    (name, *_) = operator.inputs
    block = operator.attributes["blocksize"] ** 2
    track = flow.track(name, 1)
    if track is not None:
        by_channel = operator.attributes["mode"] == "CRD"
        form = (-1, block) if by_channel else (block, -1)
        inner = 1 if by_channel else 0
        labels, zero = track.labels.reshape(form), track.zero.reshape(form)
        first = labels.take([0], inner)
        flow.tie(labels, first, f"belongs to what stays, in {place(operator)}")
        flow.put(
            operator.output, 1, Track(first.reshape(-1), np.asarray(zero.all(inner)), track.broken)
        )
    for axis in (2, 3):
        if (spatial := flow.track(name, axis)) is not None:
            flow.protect(spatial.labels.tolist(), f"is spread by {place(operator)}")
