"""`Graph` -> TFLite bytes: each operator by its own writer."""

from __future__ import annotations

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.operators import KINDS


def write_tflite(graph: Graph) -> bytes:
    """The same graph always gives the same bytes.

    Raises:
        InputError: an operator that TFLite files cannot express, by name.
    """
    draft = TfliteDraft(graph)
    for name in graph.inputs:
        draft.end(name)
    for operator in graph.operators:
        kind = KINDS[operator.kind]
        if kind.tflite is None:
            raise InputError(f"{operator} has no TFLite counterpart; {kind.conditions}")
        if not kind.any_order and draft.flattened.keys() & set(operator.inputs):
            raise InputError(
                f"{operator} reads a flattened map, whose order differs in TFLite; "
                "put a linear layer first, or flatten later"
            )
        kind.tflite(draft, operator)
    return draft.finish()
