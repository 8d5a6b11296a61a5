"""ONNX operators that only move or cut numbers. The batch stays the first axis, of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx

from edgeticket.pipeline.onnx_import.attributes import attributes
from edgeticket.pipeline.onnx_import.draft import Draft

LAST = 2**31 - 1  # what files say for "to the end"


def _reshape(draft: Draft, node: onnx.NodeProto) -> None:
    """Any operator whose output has the same numbers in the same order."""
    before, after = draft.shape(node.input[0]), draft.shape(node.output[0])
    if before == after:
        draft.alias(node)
    elif after[:1] != (1,):
        raise draft.refuse(node, f"gives {list(after)}: the batch must stay the first axis")
    else:
        draft.append(node, "reshape", node.input[:1], {"rest": list(after[1:])})


def _transpose(draft: Draft, node: onnx.NodeProto) -> None:
    axes = len(draft.shape(node.input[0]))
    order = ({"perm": list(reversed(range(axes)))} | attributes(node))["perm"]
    if order[0] != 0:
        raise draft.refuse(
            node,
            f"moves the batch to another axis ({order}): the batch must stay the first axis, as "
            "with batch_first=True; or give the network itself as `model: {import: ...}`",
        )
    draft.append(node, "permute", node.input, {"dims": list(order)})


def _join(draft: Draft, node: onnx.NodeProto) -> None:
    axis = attributes(node)["axis"] % len(draft.shape(node.output[0]))
    _not_the_batch(draft, node, axis)
    values = []
    for name in node.input:
        stored = draft.source.constants.get(name)
        if stored is None:
            values.append(name)
            continue
        repeated = f"{name} for {node.output[0]}"
        inputs = [draft.stored(node, stored), draft.source.input]
        draft.append(node, "repeat", inputs, {"rest": list(stored.shape[1:])}, output=repeated)
        values.append(repeated)
    draft.append(node, "join", values, {"dim": axis})


def _slice(draft: Draft, node: onnx.NodeProto) -> None:
    starts, ends, axes, steps = (draft.constant(node, i) for i in (1, 2, 3, 4))
    if starts is None or ends is None:
        raise draft.refuse(node, "has no bounds: export it again")
    if steps is not None and set(steps.reshape(-1).tolist()) != {1}:
        raise draft.refuse(node, "leaves numbers out (step above 1): only whole pieces can be cut")
    shape = draft.shape(node.input[0])
    along = range(len(starts)) if axes is None else [int(a) % len(shape) for a in axes]
    source = node.input[0]
    cuts = [
        (axis, *slice(int(start), min(int(end), LAST)).indices(shape[axis])[:2])
        for axis, start, end in zip(along, starts, ends, strict=True)
    ]
    cuts = [(axis, start, stop) for axis, start, stop in cuts if (start, stop) != (0, shape[axis])]
    if not cuts:
        draft.alias(node)
    for i, (axis, start, stop) in enumerate(cuts):
        made = node.output[0] if i == len(cuts) - 1 else f"{node.output[0]} cut {i}"
        _cut(draft, node, source, made, axis, start, stop)
        source = made


def _split(draft: Draft, node: onnx.NodeProto) -> None:
    axis = ({"axis": 0} | attributes(node))["axis"] % len(draft.shape(node.input[0]))
    start = 0
    for output in node.output:
        stop = start + draft.shape(output)[axis]
        _cut(draft, node, node.input[0], output, axis, start, stop)
        start = stop


def _gather(draft: Draft, node: onnx.NodeProto) -> None:
    index = draft.constant(node, 1)
    shape = draft.shape(node.input[0])
    axis = ({"axis": 0} | attributes(node))["axis"] % len(shape)
    if index is None or index.size != 1:
        raise draft.refuse(node, "picks several numbers: only one index, or a Slice, can be")
    _not_the_batch(draft, node, axis)
    at = int(index.item()) % shape[axis]
    if index.ndim:
        _cut(draft, node, node.input[0], node.output[0], axis, at, at + 1)
    else:
        draft.append(node, "pick", node.input[:1], {"axis": axis, "index": at})


def _cut(
    draft: Draft,
    node: onnx.NodeProto,
    source: str,
    output: str,
    axis: int,
    start: int,
    stop: int,
) -> None:
    _not_the_batch(draft, node, axis)
    settings = {"axis": axis, "start": start, "stop": stop}
    draft.append(node, "cut", [source], settings, output=output)


def _not_the_batch(draft: Draft, node: onnx.NodeProto, axis: int) -> None:
    if axis == 0:
        raise draft.refuse(node, "works along the batch: examples must not be mixed")


def _pad(draft: Draft, node: onnx.NodeProto) -> None:
    number, axes = draft.constant(node, 2), draft.constant(node, 3)
    pads = draft.constant(node, 1)
    mode = ({"mode": b"constant"} | attributes(node))["mode"]
    if mode != b"constant" or (number is not None and float(number) != 0) or pads is None:
        raise draft.refuse(node, "pads with something else than zeros: only zeros can be")
    shape = draft.shape(node.input[0])
    along = range(len(shape)) if axes is None else [int(a) % len(shape) for a in axes]
    around = {a: (int(pads[i]), int(pads[i + len(pads) // 2])) for i, a in enumerate(along)}
    if around.get(0, (0, 0)) != (0, 0):
        raise draft.refuse(node, "pads the batch: leave that out")
    sides = [n for axis in reversed(range(1, len(shape))) for n in around.get(axis, (0, 0))]
    draft.append(node, "pad", node.input[:1], {"pad": sides})


OPERATORS: Mapping[str, Callable[[Draft, onnx.NodeProto], None]] = {
    "Concat": _join,
    "Flatten": _reshape,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
