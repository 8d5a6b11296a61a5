"""Rows of a table by number, the place of the largest, and running sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import SAME_DTYPE, Draft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators import passing, passing_layers
from edgeticket.pipeline.operators.axes import is_batch
from edgeticket.pipeline.operators.kind import Attributes, Kind, Reader, Shape
from edgeticket.pipeline.operators.logic import cast

B = schema.BuiltinOperator

# --- reading


def embed(draft: Draft, weight: str, indices: str, *_: Any, **more: Any) -> str:
    """Rows of a stored table."""
    draft.array(weight, "its table")
    return draft.add("Embedding", weight, cast(draft, indices, "int64"))


def place_of_largest(
    draft: Draft, self: str, dim: Any = None, keepdim: bool = False, *, smallest: bool = False
) -> str:
    """ArgMax along one axis; that of the smallest is that of the largest of −x."""
    if dim is None:
        raise draft.refuse("looks for its place among all numbers: name an axis")
    axis = dim % draft.rank(self)
    if is_batch(draft, self, axis):
        raise draft.refuse("compares examples: leave the batch out")
    if smallest:
        self = draft.add("Neg", self, suffix="negative")
    return draft.add("ArgMax", self, suffix="place", axis=axis, keepdims=int(keepdim))


def running_sum(draft: Draft, self: str, dim: int, dtype: Any = None) -> str:
    """CumSum."""
    return draft.add("CumSum", self, axis=dim % draft.rank(self))


def _onnx_place(smallest: bool) -> Reader:
    def read(
        draft: Draft, x: str, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
    ) -> str:
        if select_last_index:
            raise draft.refuse("takes the last of equal numbers: take the first")
        return place_of_largest(draft, x, axis, bool(keepdims), smallest=smallest)

    return read


def _onnx_running_sum(
    draft: Draft, x: str, axis: str, *, exclusive: int = 0, reverse: int = 0
) -> str:
    if exclusive or reverse:
        raise draft.refuse("is an exclusive or reversed running sum: use the plain one")
    return running_sum(draft, x, int(np.ravel(draft.array(axis, "its axis"))[0]))


# --- meaning


def _embedding_shape(attributes: Attributes, table: Shape, indices: Shape) -> Shape:
    return (*indices, *table[1:])


def _embedding_meaning(torch: Any, attributes: Attributes, table: Any, indices: Any) -> Any:
    return table[indices]


def _place_shape(attributes: Attributes, shape: Shape) -> Shape:
    axis = attributes["axis"]
    return (*shape[:axis], *[1] * attributes["keepdims"], *shape[axis + 1 :])


def _place_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    return torch.argmax(x, attributes["axis"], keepdim=bool(attributes["keepdims"]))


# --- writing


def write_embedding_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """GATHER."""
    table, indices = operator.inputs
    rank = len(draft.graph.values[indices].shape)
    options = schema.GatherOptionsT()
    options.axis = 0
    inputs = [
        draft.constant(f"{operator.name}.table", draft.graph.constants[table].data),
        draft.ordered(indices, tuple(range(rank))),
    ]
    wide = len(draft.graph.values[operator.output].shape)
    output = draft.ordered(operator.output, tuple(range(wide)))
    draft.append(B.GATHER, inputs, output, options, version=1)


def write_embedding(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """Gather of rows."""
    draft.node("Gather", inputs, output, {"axis": 0})


def write_place_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """ARG_MAX, and RESHAPE where the axis stays."""
    name = operator.inputs[0]
    rank = len(draft.graph.values[name].shape)
    source = draft.ordered(name, tuple(range(rank)))
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    axis = draft.constant(f"{operator.name}.axis", np.array(operator.attributes["axis"], np.int32))
    shape = draft.graph.values[operator.output].shape
    output = draft.ordered(operator.output, tuple(range(len(shape))))
    found = output
    if operator.attributes["keepdims"]:
        at = operator.attributes["axis"]
        found = draft.like(output, f"{operator.name}.flat", (*shape[:at], *shape[at + 1 :]))
    draft.append(B.ARG_MAX, [source, axis], found, options, version=1)
    if found != output:
        draft.reshape(found, output)


def write_sum_tflite(draft: TfliteDraft, operator: Operator) -> None:
    """CUMSUM."""
    name = operator.inputs[0]
    order = draft.order(name)
    places = np.array([order.index(operator.attributes["axis"])], np.int32)
    inputs = [draft.stored(name), draft.constant(f"{operator.name}.axis", places)]
    output = draft.ordered(operator.output, order)
    draft.append(B.CUMSUM, inputs, output, schema.CumsumOptionsT(), version=1)


def write_sum(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """CumSum."""
    axis = draft.integers([operator.attributes["axis"]])
    draft.node("CumSum", [*inputs, axis], output)


ATEN: dict[str, Reader] = {
    "argmax": place_of_largest,
    "argmin": lambda draft, self, dim=None, keepdim=False: place_of_largest(
        draft, self, dim, keepdim, smallest=True
    ),
    "cumsum": running_sum,
    "embedding": embed,
}
ONNX: dict[str, Reader] = {
    "ArgMax": _onnx_place(smallest=False),
    "ArgMin": _onnx_place(smallest=True),
    "CumSum": _onnx_running_sum,
}
KINDS: dict[str, Kind] = {
    "ArgMax": Kind(
        write_place_tflite,
        _place_meaning,
        _place_shape,
        dtype="int64",
        channels=passing.placed,
        conditions="one axis; of equal numbers the first; int32 in TFLite",
    ),
    "CumSum": Kind(
        write_sum_tflite,
        lambda torch, a, x: torch.cumsum(x, a["axis"]),
        onnx=write_sum,
        dtype=SAME_DTYPE,
        channels=passing.accumulated,
    ),
    "Embedding": Kind(
        write_embedding_tflite,
        _embedding_meaning,
        _embedding_shape,
        onnx=write_embedding,
        channels=passing_layers.embedding,
        conditions="rows of a stored table, by an input of whole numbers",
    ),
}
