"""What every reader of ONNX nodes needs: the draft that a walk over the nodes fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Array, Constant, Operator, Quantization


@dataclass
class Draft:
    """What one walk over the nodes collects."""

    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Constant]
    scales: dict[str, Quantization] = field(default_factory=dict)  # by value before rounding
    origins: dict[str, str] = field(default_factory=dict)  # Q, DQ, Identity output -> value
    transposes: dict[str, str] = field(default_factory=dict)  # transposed matrix -> constant
    operators: list[Operator] = field(default_factory=list)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value, which may be rounded or renamed."""
        return self.shapes[self.origins.get(name, name)]

    def constant(self, node: onnx.NodeProto, index: int, label: str) -> Constant:
        """The constant at input ``index`` of ``node``."""
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.constants:
            raise InputError(f"{label}: its input {index} ({name!r}) must be a constant")
        return self.constants[name]


Reader = Callable[[Draft, onnx.NodeProto, str], None]
"""Called with a node and with how errors name it: "conv1 (Conv)"."""


def read_array(tensor: onnx.TensorProto) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{tensor.name} lies in another file; export with the weights inside")
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{tensor.name} cannot be read ({error}); export it again") from None
    if array.dtype.kind not in "iub" and array.dtype != np.float32:
        raise InputError(f"{tensor.name} is {array.dtype}; store numbers as float32")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{tensor.name} holds NaN or infinity; check how it was trained")
    return array


def read_other(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """Any standard operator with one output, as it is."""
    if node.domain not in ("", "ai.onnx"):
        raise InputError(f"{label} is of {node.domain}; use standard ONNX operators only")
    if len(node.output) != 1:
        raise InputError(f"{label} has {len(node.output)} outputs; only one can be converted")
    for name in (*node.input, *node.output):
        known = name in draft.constants or draft.origins.get(name, name) in draft.shapes
        if name and not known:
            raise InputError(f"{label}: the shape of {name} is unknown; export with fixed sizes")
    append(draft, node, node.op_type, tuple(node.input), attributes(node))


def append(
    draft: Draft,
    node: onnx.NodeProto,
    kind: str,
    inputs: tuple[str, ...],
    attributes: Mapping[str, Any] = MappingProxyType({}),
    clamp: tuple[float, float] | None = None,
) -> None:
    output = node.output[0]
    operator = Operator(node.name or output, kind, inputs, output, attributes, clamp)
    if not inputs or inputs[0] in draft.constants:
        raise InputError(f"{operator} works on a constant; export with constants folded")
    draft.operators.append(operator)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
