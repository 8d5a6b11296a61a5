"""Numbers around a tensor: one number, reflected, repeated, circular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE, Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing_axes
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Role,
    Shape,
)
from edgeticket.pipeline.operators.slices import by_order, cut

B = schema.BuiltinOperator


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}

# What is larger stands for infinity, in front of a maximum: its code is the last one there is.
AS_INFINITE = 1e4


def pad(
    draft: Draft,
    source: str,
    before: Sequence[int],
    after: Sequence[int],
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> str:
    """Pad; negative amounts cut off, and what wraps around is sliced and concatenated."""
    for axis, (left, right) in enumerate(zip(before, after, strict=True)):
        if left < 0 or right < 0:
            size = draft.shape(source)[axis]
            source = cut(draft, source, axis, max(-left, 0), size - max(-right, 0), suffix="crop")
    before, after = [max(n, 0) for n in before], [max(n, 0) for n in after]
    if not any(before) and not any(after):
        return source
    if mode not in PAD_MODES.values():
        raise draft.refuse(f"pads by {mode!r}: use one of {', '.join(PAD_MODES.values())}")
    if mode in ("constant", "reflect"):
        kind = "PadNumber" if mode == "constant" and 0 < abs(value) < AS_INFINITE else "Pad"
        return draft.add(
            kind, source, before=list(before), after=list(after), mode=mode, value=float(value)
        )
    for axis, (left, right) in enumerate(zip(before, after, strict=True)):
        if not (left or right):
            continue
        size = draft.shape(source)[axis]
        if mode == "wrap":
            parts = [cut(draft, source, axis, size - left, None, suffix="end")] if left else []
            parts += [source]
            parts += [cut(draft, source, axis, 0, right, suffix="start")] if right else []
        else:
            parts = [cut(draft, source, axis, 0, 1, suffix="first")] * left
            parts += [source]
            parts += [cut(draft, source, axis, size - 1, None, suffix="last")] * right
        source = draft.add("Concat", *parts, axis=axis)
    return source


def _aten_pad(
    draft: Draft,
    self: str,
    pad_: Sequence[int] = (),
    mode: str = "constant",
    value: Any = None,
    **more: Any,
) -> str:
    """``pad`` counts from the last axis: (left, right, top, bottom, ...)."""
    amounts = list(more.get("pad", pad_))
    rank = draft.rank(self)
    pairs = [(0, 0)] * (rank - len(amounts) // 2)
    pairs += [(amounts[i], amounts[i + 1]) for i in range(len(amounts) - 2, -1, -2)]
    before, after = zip(*pairs, strict=True)
    return pad(draft, self, before, after, mode=PAD_MODES[mode], value=value or 0.0)


def _padding(mode: str) -> Reader:
    def read(draft: Draft, self: str, padding: Sequence[int]) -> str:
        return _aten_pad(draft, self, padding, mode)

    return read


def _onnx_pad(
    draft: Draft, x: str, pads: str, value: str = "", axes: str = "", *, mode: str = "constant"
) -> str:
    amounts = [int(n) for n in np.ravel(draft.array(pads, "its amounts"))]
    rank, half = draft.rank(x), len(amounts) // 2
    along = [int(n) % rank for n in np.ravel(draft.array(axes))] if axes else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(along):
        before[axis], after[axis] = amounts[i], amounts[i + half]
    filled = float(np.ravel(draft.array(value, "its value"))[0]) if value else 0.0
    return pad(draft, x, before, after, mode=mode, value=filled)


def _pad_shape(attributes: Attributes, shape: Shape) -> Shape:
    before, after = attributes["before"], attributes["after"]
    return tuple(b + n + a for b, n, a in zip(before, shape, after, strict=True))


def _pad_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    pairs = list(zip(attributes["before"], attributes["after"], strict=True))
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        amounts = [n for pair in reversed(pairs) for n in pair]
        return torch.nn.functional.pad(x, amounts, value=attributes.get("value", 0.0))
    inner = [n for pair in reversed(pairs[2:]) for n in pair]
    return torch.nn.functional.pad(x, inner, mode=mode)


def write_pad_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """PAD with zeros, PADV2 with another number, MIRROR_PAD."""
    name = operator.inputs[0]
    order = draft.order(name)
    source, output = draft.stored(name), draft.ordered(operator.output, order)
    sides = [by_order(operator.attributes[key], order) for key in ("before", "after")]
    amounts = draft.constant(f"{operator.name}.amounts", np.array(sides, np.int32).T)
    version = draft.version(operator, int8=2)
    if operator.attributes.get("mode", "constant") == "reflect":
        options = schema.MirrorPadOptionsT()
        options.mode = schema.MirrorPadMode.REFLECT
        draft.append(B.MIRROR_PAD, [source, amounts], output, options, version=version)
    elif not operator.attributes.get("value", 0.0):
        draft.append(B.PAD, [source, amounts], output, schema.PadOptionsT(), version=version)
    else:
        quantization = draft.graph.values[operator.output].quantization
        value = operator.attributes["value"]
        data = np.array([value], np.float32)
        if quantization is not None:
            data = np.array([quantization.bounds((value, value))[0]], np.int8)
        fill = draft.constant_like(output, f"{operator.name}.fill", data)
        inputs = [source, amounts, fill]
        draft.append(B.PADV2, inputs, output, schema.PadV2OptionsT(), version=version)


def write_pad(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Pad; the code of zero is the zero point."""
    amounts = draft.integers([*operator.attributes["before"], *operator.attributes["after"]])
    quantization = draft.graph.values[operator.output].quantization
    mode, value = operator.attributes.get("mode", "constant"), operator.attributes.get("value", 0.0)
    attributes = {} if mode == "constant" else {"mode": mode}
    ends = [amounts]
    if quantization is not None and mode == "constant":
        ends.append(draft.code(quantization.bounds((value, value))[0]))
    elif value:
        ends.append(draft.tensor(f"fill.{value}", np.asarray(value, np.float32)))
    draft.node("Pad", [*inputs, *ends], output, attributes)


ATEN: dict[str, Reader] = {
    "constant_pad_nd": lambda draft, self, pad, value=0: _aten_pad(draft, self, pad, value=value),
    "pad": _aten_pad,
    "reflection_pad1d": _padding("reflect"),
    "reflection_pad2d": _padding("reflect"),
    "replication_pad1d": _padding("replicate"),
    "replication_pad2d": _padding("replicate"),
}


ONNX: dict[str, Reader] = {
    "Pad": _onnx_pad,
}


KINDS: dict[str, Kind] = {
    "Pad": Kind(
        write_pad_tflite,
        _pad_meaning,
        _pad_shape,
        Role.SAME,
        write_pad,
        dtype=SAME_DTYPE,
        channels=passing_axes.padded,
        conditions="zeros, reflected, infinity; repeated and circular as Concat",
    ),
    # The scale of the input need not reach the number: 1 around numbers below 0.1 would be 0.1.
    "PadNumber": Kind(
        write_pad_tflite,
        _pad_meaning,
        _pad_shape,
        Role.REAL,
        write_pad,
        dtype=SAME_DTYPE,
        channels=passing_axes.padded,
        conditions="any number but 0",
    ),
}
