"""An ONNX file of any maker, float32 or quantised, -> the graph, with the scales of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.normalise import check_nodes, fix_sizes, parse_model, settled
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.qdq_insertion import is_integer
from edgeticket.pipeline.convert.qoperator import as_qdq
from edgeticket.pipeline.convert.read import graph_of
from edgeticket.pipeline.graph.graph import Graph, Operator
from edgeticket.pipeline.operators import KINDS


def read_any(data: bytes, *, place: str) -> Graph:
    """Read a file of any operator set, with an open batch or one of 1.

    Args:
        data: QDQ or QOperator format, int8 or uint8, or float32.
        place: what sentences call the file.

    Raises:
        InputError: the file is damaged, or holds something that cannot be converted.
    """
    model = as_qdq(parse_model(data, place), place)
    check_nodes(model, place)
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in stored:
            fix_sizes(value, place, ranks=(2, 3, 4))
    for value in model.graph.output:
        for size in value.type.tensor_type.shape.dim:
            size.Clear()  # they follow from those of the inputs
    try:
        return graph_of(_without_other_domains(settled(model, place)))
    except InputError as error:
        sentence = str(error)
        raise InputError(sentence if place in sentence else f"{place}: {sentence}") from None


def _without_other_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    return model


@dataclass(frozen=True)
class Domains:
    """Operators that compute on codes, and those that compute in float32."""

    integer: tuple[Operator, ...]
    real: tuple[Operator, ...]

    def __str__(self) -> str:
        if not self.integer:
            return f"all {len(self.real)} operators in float32"
        if not self.real:
            return f"all {len(self.integer)} operators in int8"
        kinds = sorted({operator.kind for operator in self.real})
        return (
            f"{len(self.integer)} operators in int8, {len(self.real)} in float32 between codes "
            f"({', '.join(kinds)}: {_some([operator.name for operator in self.real])})"
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def domains(graph: Graph) -> Domains:
    """Where a graph computes on codes when it is written."""
    ready = prepare(graph)
    integer: list[Operator] = []
    real: list[Operator] = []
    for operator in ready.operators:
        if KINDS[operator.kind].crosses or operator.kind in MOVING:
            continue
        on_codes = is_integer(operator, ready.values, ready.constants)
        (integer if on_codes else real).append(operator)
    return Domains(tuple(integer), tuple(real))


MOVING = frozenset({"Flatten", "Reshape"})  # which compute nothing
