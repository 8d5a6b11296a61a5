"""`Graph` -> TFLite bytes: each operator by its own writer."""

from __future__ import annotations

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Graph
from edgeticket.pipeline.convert.operators import KINDS
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft


def write_tflite(graph: Graph) -> bytes:
    """The same graph always gives the same bytes.

    Raises:
        InputError: an operator that TFLite files cannot express, by name.
    """
    draft = TfliteDraft(graph)
    draft.end(graph.input)
    for operator in graph.operators:
        if operator.kind not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise InputError(
                f"{operator} has no TFLite counterpart here; replace it by one of {known}"
            )
        kind = KINDS[operator.kind]
        if not kind.any_order and draft.flattened.keys() & set(operator.inputs):
            raise InputError(
                f"{operator} reads a flattened map, whose order differs in TFLite; "
                "put a linear layer first, or flatten later"
            )
        kind.tflite(draft, operator)
    if graph.output in draft.flattened:
        raise InputError(f"{graph.output} is a flattened map; end the network with a linear layer")
    return draft.finish()
