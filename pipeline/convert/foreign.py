"""An ONNX file of any maker, float32 or quantised, -> the graph, with the scales of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx

from edgeticket.pipeline.convert.channel_steps import steps_into_layers
from edgeticket.pipeline.convert.float_layers import MOVING, why_real
from edgeticket.pipeline.convert.normalise import check_nodes, fix_ends, in_one_form, parse_model
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.qdq_insertion import LAYERS, is_integer
from edgeticket.pipeline.convert.qoperator import as_qdq
from edgeticket.pipeline.convert.read import graph_of, placed
from edgeticket.pipeline.graph.graph import Graph, Operator
from edgeticket.pipeline.operators import KINDS, Role


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
    fix_ends(model, place)
    model = _without_other_domains(in_one_form(model, place))
    with placed(place):
        graph = _rounded_early(steps_into_layers(graph_of(model)))
    return replace(graph, verbatim=True)


def _without_other_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    return model


def _rounded_early(graph: Graph) -> Graph:
    """Round in front of what only moves numbers, so that it moves codes.

    That is the same where nothing else reads the numbers; a layer or pool before it may then be an
    integer one.
    """
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    readers.update(graph.outputs)
    values = dict(graph.values)
    for operator in reversed(graph.operators):
        quantization = values[operator.output].quantization
        if quantization is None or KINDS[operator.kind].role not in (Role.SAME, Role.JOIN):
            continue
        free = [
            name in values and values[name].quantization is None and readers[name] == 1
            for name in operator.inputs
        ]
        if all(free):
            for name in operator.inputs:
                values[name] = replace(values[name], quantization=quantization)
    return replace(graph, values=values)


@dataclass(frozen=True)
class Domains:
    """Operators that compute on codes, and those that compute in float32."""

    integer: tuple[Operator, ...]
    real: tuple[Operator, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)  # of layers in float32, by name

    def __str__(self) -> str:
        if not self.real:
            return "all in int8"
        kinds = sorted({operator.kind for operator in self.real})
        names = [operator.name for operator in self.real]
        line = "all in float32"
        if self.integer:
            line = (
                f"operators in int8: {len(self.integer)}, "
                f"in float32 between codes: {len(self.real)} "
                f"({', '.join(kinds)}: {_some(names)})"
            )
        for reason in dict.fromkeys(self.reasons.values()):
            alike = [name for name, why in self.reasons.items() if why == reason]
            line += f"; {_some(alike)}: {reason}"
        return line


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
    reasons = {op.name: why_real(op, ready) for op in real if op.kind in LAYERS}
    return Domains(tuple(integer), tuple(real), reasons)
