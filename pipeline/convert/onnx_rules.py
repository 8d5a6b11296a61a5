"""What ONNX itself says of a node: type and shape of its outputs, its results from constants."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.graph import IR_VERSION, OPSET, Array

MOST_NUMBERS = 2**31 - 1  # TFLite counts in int32
MOST_STORED = 2**28  # numbers that constants may be computed to, in all: 1 GiB
SMALL = 1024  # numbers of a constant that may decide a shape

# Their results are not those of their inputs alone, or their inputs hold graphs.
NEVER_STORED = frozenset({"Bernoulli", "Multinomial", "If", "Loop", "Scan", "SequenceMap"})
# How many numbers they give depends on the numbers; never more than these times those they read.
PICKING = {"NonZero": 8, "Compress": 1, "Unique": 4}

# As a graph has them; codes and whole numbers of any width are int64.
DTYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.BOOL: "bool"}


class OnnxRules:
    """Types of all values so far, by their names in the file."""

    def __init__(self) -> None:
        self.types: dict[str, onnx.TypeProto] = {}
        self._small: dict[str, TensorProto] = {}
        self._computed = 0  # numbers

    def store(self, name: str, array: Array) -> None:
        """Say that a value is stored in the file, or can be."""
        code = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.types[name] = helper.make_tensor_type_proto(code, array.shape)
        if array.size <= SMALL:
            self._small[name] = numpy_helper.from_array(array, name)

    def flow(self, name: str, code: int, shape: tuple[int, ...]) -> None:
        """Say that a value follows from the input."""
        self.types[name] = helper.make_tensor_type_proto(code, shape)

    def infer(self, node: onnx.NodeProto, label: str) -> None:
        """Find the types of a node's outputs.

        Raises:
            InputError: inputs or attributes that ONNX does not allow it, by ``label``; or a result
                that no device holds.
        """
        read = [name for name in node.input if name]
        types = {name: self.types[name] for name in read if name in self.types}
        data = {name: self._small[name] for name in read if name in self._small}
        opset = helper.make_opsetid("", OPSET)
        try:
            found = shape_inference.infer_node_outputs(
                onnx.defs.get_schema(node.op_type, OPSET),
                node,
                types,
                data,
                opset_imports=[opset],
                ir_version=IR_VERSION,
            )
        except (
            onnx.defs.SchemaError,
            onnx.checker.ValidationError,
            shape_inference.InferenceError,
            RuntimeError,
            ValueError,  # it finds no type
        ) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{label} is not as ONNX defines it ({reason}); export it again"
            ) from None
        for name, kind in found.items():
            shape = _shape(kind)
            if shape is not None and math.prod(shape) > MOST_NUMBERS:
                raise InputError(f"{label} makes {list(shape)}, which no device holds")
            self.types[name] = kind

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Of a value; None where ONNX does not know it."""
        return _shape(self.types[name]) if name in self.types else None

    def dtype(self, name: str) -> str:
        """float32, int64 or bool; "" where ONNX does not know it."""
        kind = self.types.get(name)
        code = kind.tensor_type.elem_type if kind is not None else TensorProto.UNDEFINED
        return DTYPES.get(code, "int64") if code else ""

    def compute(
        self, node: onnx.NodeProto, label: str, arrays: Mapping[str, Array]
    ) -> dict[str, Array]:
        """The outputs of a node whose inputs are all stored, as ONNX Runtime computes them.

        Args:
            arrays: its inputs by name.

        Raises:
            InputError: it cannot be computed, or gives more numbers than constants may have.
        """
        names = [name for name in node.output if name]
        for name in names:
            self._computed += self._count(node, name, label, arrays)
        if self._computed > MOST_STORED:
            raise InputError(
                f"{label} makes constants of more than {MOST_STORED} numbers; store what the "
                "network needs of them in the file"
            )
        results = _run(node, names, {name: self.types[name] for name in arrays}, arrays, label)
        for name, array in results.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise InputError(f"{label} makes NaN of constants; check how they were made")
            self.store(name, array)
        return results

    def _count(
        self, node: onnx.NodeProto, name: str, label: str, arrays: Mapping[str, Array]
    ) -> int:
        shape = self.shape(name)
        if shape is not None:
            return math.prod(shape)
        if node.op_type in PICKING:
            return PICKING[node.op_type] * sum(array.size for array in arrays.values())
        raise InputError(f"{label} makes constants of an unknown size; store them in the file")


def is_computable(node: onnx.NodeProto) -> bool:
    """Whether a node gives the same for the same inputs, and for stored ones can be stored."""
    if node.op_type in NEVER_STORED or node.op_type.startswith("Random"):
        return False
    if any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute):
        return False
    return bool([name for name in node.input if name]) or node.op_type == "Constant"


def _shape(kind: onnx.TypeProto) -> tuple[int, ...] | None:
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return None
    if not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def _run(
    node: onnx.NodeProto,
    names: list[str],
    types: Mapping[str, onnx.TypeProto],
    arrays: Mapping[str, Array],
    label: str,
) -> dict[str, Array]:
    import onnxruntime

    ends = [onnx.ValueInfoProto(name=name, type=kind) for name, kind in types.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    graph = helper.make_graph([node], "constants", ends, outputs)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[opset])
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        results = session.run(names, dict(arrays))
    except Exception as error:  # of ONNX Runtime's own, which derive from nothing else
        reason = " ".join(str(error).split())
        raise InputError(
            f"{label} works on constants and cannot be computed ({reason[:200]}); export with "
            "constants folded"
        ) from None
    return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}
