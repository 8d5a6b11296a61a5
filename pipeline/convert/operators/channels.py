"""Joining, cutting, padding and shuffling: numbers move and none changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Operator
from edgeticket.pipeline.convert.onnx_draft import OnnxDraft
from edgeticket.pipeline.convert.operators.kind import Kind
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, append, attributes
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft

B = schema.BuiltinOperator


def _read_concat(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    axis = int(attributes(node)["axis"]) % len(draft.shapes[node.output[0]])
    constants = draft.constants.keys() & set(node.input)
    if len(constants) == len(node.input):
        raise InputError(f"{label} works on constants; export with constants folded")
    kind = "ConcatConstant" if constants else "Concat"
    operator = Operator(
        node.name or node.output[0], kind, tuple(node.input), node.output[0], {"axis": axis}
    )
    draft.operators.append(operator)


def _read_slice(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    shape = draft.shape(node.input[0])
    starts, stops = [np.ravel(draft.constant(node, i, label).data).tolist() for i in (1, 2)]
    axes = list(range(len(starts)))
    if len(node.input) > 3 and node.input[3]:
        axes = np.ravel(draft.constant(node, 3, label).data).tolist()
    if len(node.input) > 4 and any(np.ravel(draft.constant(node, 4, label).data) != 1):
        raise InputError(f"{label} takes every n-th number; only whole stretches can be cut out")
    begin, size = [0] * len(shape), list(shape)
    for axis, start, stop in zip(axes, starts, stops, strict=True):
        first, last, _ = slice(start, stop).indices(shape[axis])
        begin[axis % len(shape)], size[axis % len(shape)] = first, last - first
    append(draft, node, "Slice", (node.input[0],), {"begin": begin, "size": size})


def _read_split(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """One Slice for each output."""
    shape = draft.shape(node.input[0])
    axis = {"axis": 0, **attributes(node)}["axis"] % len(shape)
    first = 0
    for output in node.output:
        begin, size = [0] * len(shape), list(draft.shapes[output])
        begin[axis] = first
        first += size[axis]
        cut = {"begin": begin, "size": size}
        operator = Operator(output, "Slice", (node.input[0],), output, cut)
        if node.input[0] in draft.constants:
            raise InputError(f"{label} works on a constant; export with constants folded")
        draft.operators.append(operator)


def _read_pad(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    if attributes(node).get("mode", b"constant") != b"constant":
        raise InputError(f"{label} repeats the border; pad with zeros")
    if len(node.input) > 3 and node.input[3]:
        raise InputError(f"{label} pads some axes only by name; export it with all of them")
    if len(node.input) > 2 and node.input[2] and draft.constant(node, 2, label).data.any():
        raise InputError(f"{label} pads with {draft.constant(node, 2, label).data}; pad with zeros")
    amounts = np.ravel(draft.constant(node, 1, label).data).tolist()
    if min(amounts) < 0:
        raise InputError(f"{label} cuts the border off; slice instead")
    half = len(amounts) // 2
    sides = {"before": amounts[:half], "after": amounts[half:]}
    append(draft, node, "Pad", (node.input[0],), sides)


def nhwc_order(numbers: Sequence[int]) -> list[int]:
    """One number for each axis of [N, C, H, W] -> of [N, H, W, C]; other ranks stay."""
    return [numbers[0], *numbers[2:], numbers[1]] if len(numbers) == 4 else list(numbers)


def concat(draft: TfliteDraft, operator: Operator) -> None:
    """CONCATENATION."""
    output = draft.value(operator.output)
    rank = len(draft.shape(output))
    options = schema.ConcatenationOptionsT()
    options.axis = nhwc_order(list(range(rank))).index(operator.attributes["axis"])
    constants = draft.graph.constants
    inputs = [
        draft.constant(f"{operator.name}.{name}", constants[name].data)
        if name in constants
        else draft.value(name)
        for name in operator.inputs
    ]
    draft.append(B.CONCATENATION, inputs, output, options, version=draft.version(operator, int8=2))


def cut(draft: TfliteDraft, operator: Operator) -> None:
    """SLICE."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    ends = [
        draft.constant(
            f"{operator.name}.{name}", np.array(nhwc_order(operator.attributes[name]), np.int32)
        )
        for name in ("begin", "size")
    ]
    version = draft.version(operator, int8=2)
    draft.append(B.SLICE, [source, *ends], output, schema.SliceOptionsT(), version=version)


def pad(draft: TfliteDraft, operator: Operator) -> None:
    """PAD with zeros."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    sides = [nhwc_order(operator.attributes[name]) for name in ("before", "after")]
    amounts = draft.constant(f"{operator.name}.amounts", np.array(sides, np.int32).T)
    version = draft.version(operator, int8=2)
    draft.append(B.PAD, [source, amounts], output, schema.PadOptionsT(), version=version)


def shuffle(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE, TRANSPOSE of the two innermost axes, RESHAPE."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    batch, height, width, channels = draft.shape(source)
    groups = operator.attributes["groups"]
    split = (batch, height, width, groups, channels // groups)
    turned = (*split[:3], split[4], split[3])
    parts = draft.like(output, f"{operator.name}.split", split)
    draft.reshape(source, parts)
    mixed = draft.like(output, f"{operator.name}.turned", turned)
    order = draft.constant(f"{operator.name}.order", np.array([0, 1, 2, 4, 3], np.int32))
    version = draft.version(operator, int8=2)
    options = schema.TransposeOptionsT()
    draft.append(B.TRANSPOSE, [parts, order], mixed, options, version=version)
    draft.reshape(mixed, output)


def concat_constant(draft: TfliteDraft, operator: Operator) -> None:
    """CONCATENATION with numbers that are stored in the file, such as a class token."""
    if len(draft.graph.values[operator.output].shape) == 4:
        raise InputError(f"{operator} joins a constant to a map; join vectors only")
    concat(draft, operator)


def write_concat(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Concat."""
    draft.node("Concat", inputs, output, operator.attributes)


def write_slice(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Slice on the axes that are cut."""
    begin, size = operator.attributes["begin"], operator.attributes["size"]
    whole = draft.graph.values[operator.inputs[0]].shape
    axes = [axis for axis in range(len(whole)) if size[axis] != whole[axis]] or [0]
    starts = [begin[axis] for axis in axes]
    stops = [begin[axis] + size[axis] for axis in axes]
    draft.node("Slice", [*inputs, *map(draft.integers, (starts, stops, axes))], output)


def write_pad(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Pad with zeros; the code of zero is the zero point."""
    amounts = draft.integers([*operator.attributes["before"], *operator.attributes["after"]])
    quantization = draft.graph.values[operator.output].quantization
    fill = "" if quantization is None else draft.code(quantization.zero_point)
    draft.node("Pad", [*inputs, amounts, fill] if fill else [*inputs, amounts], output)


def write_shuffle(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Reshape, Transpose, Reshape."""
    shape = draft.graph.values[operator.output].shape
    groups = operator.attributes["groups"]
    split = draft.integers([shape[0], groups, shape[1] // groups, *shape[2:]])
    parts = draft.node("Reshape", [*inputs, split], f"{output}.split")
    mixed = draft.node("Transpose", [parts], f"{output}.turned", {"perm": [0, 2, 1, 3, 4]})
    draft.node("Reshape", [mixed, draft.integers(shape)], output)


READERS: dict[str, Reader] = {
    "Concat": _read_concat,
    "Pad": _read_pad,
    "Slice": _read_slice,
    "Split": _read_split,
}

KINDS: dict[str, Kind] = {
    "ChannelShuffle": Kind(
        shuffle, write_shuffle, keeps_codes=True, conditions="read from Reshape, Transpose, Reshape"
    ),
    "Concat": Kind(concat, keeps_codes=True, conditions="int8: all inputs share one scale"),
    "ConcatConstant": Kind(
        concat_constant, write_concat, real=True, conditions="not for [1, C, H, W]"
    ),
    "Pad": Kind(pad, write_pad, keeps_codes=True, conditions="zeros"),
    "Slice": Kind(cut, write_slice, keeps_codes=True, conditions="step 1; Split likewise"),
}
