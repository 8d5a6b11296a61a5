"""How channels pass through layers: rows of weights write them, columns read them."""

from __future__ import annotations

import numpy as np

from edgeticket.pipeline.graph.channel_flow import ChannelFlow, Labels, Part, Track, place
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators.kind import Kind
from edgeticket.pipeline.operators.passing import stop

MEETS = "meets what stays, in {}"


def loses_whole_groups(groups: int, inputs_per_group: int) -> bool:
    """Whether channels go by whole groups, or each group loses the same of its channels.

    The way that leaves more to choose from; depthwise, each channel is a group.
    """
    return groups >= inputs_per_group


def linear(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """x·Wᵀ + b over the last axis."""
    name, weight, *bias = operator.inputs
    last = len(flow.shape(name)) - 1
    rows = flow.stored(weight, 0, Part.MAKES, operator)
    columns = flow.stored(weight, 1, Part.READS, operator)
    _others_pass(flow, operator, last)
    _read(flow, operator, last, columns)
    _write(flow, operator, last, rows, bias)


def convolution(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Any groups: whole ones go where there are many, else all lose the same of their channels."""
    _, weight, *bias = operator.inputs
    group = operator.attributes["group"]
    outputs, per_group = flow.shape(weight)[:2]
    _others_pass(flow, operator, 1)
    if group == 1:
        rows = flow.stored(weight, 0, Part.MAKES, operator)
        _read(flow, operator, 1, flow.stored(weight, 1, Part.READS, operator))
    elif loses_whole_groups(group, per_group):
        if _is_alike_for_all(flow, operator):
            return
        rows = flow.stored(weight, 0, Part.WRITES, operator)
        if rows is not None:
            _tie_groups(flow, operator, rows, group)
    else:
        rows = flow.stored(weight, 0, Part.MAKES, operator)
        columns = flow.stored(weight, 1, Part.READS, operator)
        _read(flow, operator, 1, None if columns is None else np.tile(columns, group))
        if rows is not None:
            _tie_alike(flow, operator, rows.reshape(group, outputs // group))
    _write(flow, operator, 1, rows, bias)


def transposed_convolution(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """As a convolution, with the inputs along the first axis of the weight."""
    _, weight, *bias = operator.inputs
    group = operator.attributes["group"]
    inputs, per_group = flow.shape(weight)[:2]
    _others_pass(flow, operator, 1)
    if group > 1 and loses_whole_groups(group, inputs // group):
        columns = flow.stored(weight, 0, Part.WRITES, operator)
        rows = None
        if columns is not None:
            _tie_groups(flow, operator, columns, group)
            rows = np.repeat(columns.reshape(group, -1)[:, 0], per_group)
    else:
        columns = flow.stored(weight, 0, Part.READS, operator)
        rows = flow.stored(weight, 1, Part.MAKES, operator)
        _read(flow, operator, 1, columns)
        if columns is not None and group > 1:
            _tie_alike(flow, operator, columns.reshape(group, -1))
        rows = None if rows is None else np.tile(rows, group)
    _write(flow, operator, 1, rows, bias)


def batch_norm(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """A scale and a shift for each channel: zero where both are, whatever it reads."""
    name, *constants = operator.inputs
    for axis in (0, *range(2, len(flow.shape(name)))):
        if (track := flow.track(name, axis)) is not None:
            lost = np.zeros(len(track.labels), bool)
            flow.put(operator.output, axis, Track(track.labels, lost, place(operator)))
    track = flow.track(name, 1)
    labels = flow.labels(name, 1)
    written = []
    for constant, part in zip(constants, (*[Part.WRITES] * 2, *[Part.SCALES] * 2), strict=True):
        own = flow.stored(constant, 0, part, operator)
        if own is not None:
            flow.tie(labels, own, MEETS.format(place(operator)))
        elif not flow.is_uniform(constant, 0):
            flow.protect(labels.tolist(), MEETS.format(place(operator)))
        written.append(own is not None)
    if track is not None:
        zero = np.full(len(labels), written[0] and written[1])
        flow.put(operator.output, 1, Track(labels, zero, place(operator)))


def embedding(flow: ChannelFlow, operator: Operator, kind: Kind) -> None:
    """Rows of a stored table, whose columns are channels."""
    table, _ = operator.inputs
    stop(flow, operator, f"is used as an index by {place(operator)}")
    columns = flow.stored(table, 1, Part.MAKES, operator)
    if columns is not None and len(flow.shape(table)) == 2:
        last = len(flow.shape(operator.output)) - 1
        flow.put(operator.output, last, Track(columns, np.ones(len(columns), bool)))


def _others_pass(flow: ChannelFlow, operator: Operator, channels: int) -> None:
    """Axes beside the channels: of a linear layer they pass, of a convolution windows mix them."""
    name, _, *bias = operator.inputs
    linear_layer = operator.kind == "Gemm"
    for axis in range(len(flow.shape(name))):
        track = flow.track(name, axis)
        if axis == channels or track is None:
            continue
        if axis and not linear_layer:
            flow.protect(track.labels.tolist(), f"is combined with others by {place(operator)}")
            continue
        zero = track.zero & (not bias)
        flow.put(operator.output, axis, Track(track.labels, zero, track.broken or place(operator)))


def _read(flow: ChannelFlow, operator: Operator, axis: int, columns: Labels | None) -> None:
    (name, *_) = operator.inputs
    track = flow.track(name, axis)
    if columns is None:
        if track is not None:
            why = f"is read by {place(operator)}, whose weight is computed from others"
            flow.protect(track.labels.tolist(), why)
        return
    labels = flow.labels(name, axis)
    flow.tie(columns, labels, f"is read by {place(operator)}, together with what stays")
    if track is not None:
        flow.need_zero(track, place(operator))


def _write(
    flow: ChannelFlow, operator: Operator, axis: int, rows: Labels | None, bias: list[str]
) -> None:
    if rows is None:
        return
    zero = np.ones(len(rows), bool)
    for name in bias:
        own = flow.stored(name, 0, Part.WRITES, operator)
        if own is not None:
            flow.tie(rows, own, MEETS.format(place(operator)))
        elif flow.is_uniform(name, 0):
            zero &= not flow.graph.constants[name].data.any()
        else:
            flow.protect(
                rows.tolist(), f"meets stored numbers by their place, in {place(operator)}"
            )
    flow.put(operator.output, axis, Track(rows, zero, place(operator)))


def _tie_groups(flow: ChannelFlow, operator: Operator, stored: Labels, group: int) -> None:
    """All that a group reads and writes goes together."""
    source = flow.labels(operator.inputs[0], 1).reshape(group, -1)
    blocks = stored.reshape(group, -1)
    why = f"shares a group with what stays, in {place(operator)}"
    flow.tie(blocks, blocks[:, :1], why)
    flow.tie(source, blocks[:, :1], why)


def _tie_alike(flow: ChannelFlow, operator: Operator, labels: Labels) -> None:
    """Places of all groups, [groups, channels], go together."""
    flow.tie(labels, labels[:1], f"belongs to what stays, in {place(operator)}")


def _is_alike_for_all(flow: ChannelFlow, operator: Operator) -> bool:
    """Whether each channel is filtered by the same stored numbers, which are no parameter."""
    name, weight, *bias = operator.inputs
    group = operator.attributes["group"]
    if flow.shape(weight)[:2] != (group, 1) or flow.parameters.origin(weight, 0) is not None:
        return False
    if not all(flow.is_uniform(constant, 0) for constant in operator.inputs[1:]):
        return False
    track = flow.track(name, 1)
    if track is not None:
        added = bool(bias) and bool(flow.graph.constants[bias[0]].data.any())
        flow.put(operator.output, 1, Track(track.labels, track.zero & (not added), place(operator)))
    return True
