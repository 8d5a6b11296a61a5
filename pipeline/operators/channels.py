"""Channel shuffles, which files have as a step of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators.kind import (
    Kind,
    Reader,
    Role,
)

B = schema.BuiltinOperator


def shuffle(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE, TRANSPOSE of the two innermost axes, RESHAPE."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    batch, height, width, channels = draft.shape(source)
    groups = operator.attributes["groups"]
    divided = (batch, height, width, groups, channels // groups)
    turned = (*divided[:3], divided[4], divided[3])
    parts = draft.like(output, f"{operator.name}.split", divided)
    draft.reshape(source, parts)
    mixed = draft.like(output, f"{operator.name}.turned", turned)
    order = draft.constant(f"{operator.name}.order", np.array([0, 1, 2, 4, 3], np.int32))
    version = draft.version(operator, int8=2)
    options = schema.TransposeOptionsT()
    draft.append(B.TRANSPOSE, [parts, order], mixed, options, version=version)
    draft.reshape(mixed, output)


def write_shuffle(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Reshape, Transpose, Reshape."""
    shape = draft.graph.values[operator.output].shape
    groups = operator.attributes["groups"]
    divided = draft.integers([shape[0], groups, shape[1] // groups, *shape[2:]])
    parts = draft.node("Reshape", [*inputs, divided], f"{output}.split")
    mixed = draft.node("Transpose", [parts], f"{output}.turned", {"perm": [0, 2, 1, 3, 4]})
    draft.node("Reshape", [mixed, draft.integers(shape)], output)


ATEN: dict[str, Reader] = {}  # it is found in the graph (`convert.fuse`)
ONNX: dict[str, Reader] = {}
KINDS: dict[str, Kind] = {
    "ChannelShuffle": Kind(
        shuffle,
        role=Role.SAME,
        onnx=write_shuffle,
        dtype=SAME_DTYPE,
        conditions="read from Reshape, Transpose, Reshape",
    ),
}
