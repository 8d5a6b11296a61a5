"""Tensors and operators of a TFLite flatbuffer that is being written, without TensorFlow.

Format: schema.fbs and the 8-bit quantisation specification of TensorFlow Lite. Tensors with
height and width are NHWC throughout, so that no transposes are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.graph import Array, Graph, Operator, Value

B = schema.BuiltinOperator

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
# schema.fbs asks for buffers at multiples of 16 bytes; kernels may load vectors from them.
ALIGNMENT = 16

TENSOR_TYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "bool": schema.TensorType.BOOL,
}


def usual_order(rank: int) -> tuple[int, ...]:
    """How axes are stored unless something else is cheaper: [N, C, H, W] as [N, H, W, C]."""
    return (0, 2, 3, 1) if rank == 4 else tuple(range(rank))


def end_order(rank: int) -> tuple[int, ...]:
    """How inputs and outputs of a network are stored: channels last."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def end_names(data: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a file that was written here calls its inputs, and its outputs."""
    graph = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    inputs = [graph.Inputs(i) for i in range(graph.InputsLength())]
    outputs = [graph.Outputs(i) for i in range(graph.OutputsLength())]
    first, second = (
        tuple(graph.Tensors(i).Name().decode() for i in indices) for indices in (inputs, outputs)
    )
    return first, second


class TfliteDraft:
    """Tensors go by their index."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._readers: dict[str, list[Operator]] = {}
        for op in graph.operators:
            for name in set(op.inputs):
                self._readers.setdefault(name, []).append(op)
        self.indices: dict[str, int] = {}
        self.orders: dict[str, tuple[int, ...]] = {}
        self._constants: dict[tuple[str, tuple[int, ...]], int] = {}
        self._equal: dict[tuple[Any, ...], int] = {}  # stored tensors, by all that they are
        self._transposed: dict[tuple[str, tuple[int, ...]], int] = {}
        # Flattened maps: their values are in NHWC order, unlike in the ONNX graph.
        self.flattened: dict[str, tuple[int, ...]] = {}
        self._buffers: list[Any] = [schema.BufferT()]  # the first one is always empty
        self._codes: dict[tuple[int, int], int] = {}
        self._subgraph = schema.SubGraphT()
        self._subgraph.name = b"main"
        self._subgraph.tensors, self._subgraph.operators = [], []

    def value(self, name: str) -> int:
        """The tensor of a value that flows, in its usual order (`usual_order`)."""
        return self.ordered(name, usual_order(len(self.graph.values[name].shape)))

    def order(self, name: str) -> tuple[int, ...]:
        """The axes of a value, as ONNX counts them, in the order in which they are stored."""
        return self.orders.setdefault(name, usual_order(len(self.graph.values[name].shape)))

    def ordered(self, name: str, order: tuple[int, ...]) -> int:
        """The tensor of a value with its axes in ``order``; a new value will be stored so."""
        if name not in self.indices:
            value, q = self.graph.values[name], self.graph.values[name].quantization
            self.orders[name] = order
            self.indices[name] = self._tensor(
                name,
                [value.shape[axis] for axis in order],
                self._type(value) if q is None else "int8",
                None if q is None else _quantization([q.scale], [q.zero_point], axis=0),
            )
        if self.orders[name] == order:
            return self.indices[name]
        if (name, order) not in self._transposed:
            self._transposed[name, order] = self._transpose(name, order)
        return self._transposed[name, order]

    def stored(self, name: str) -> int:
        """The tensor of a value as it is stored, in any order."""
        return self.ordered(name, self.order(name))

    def alias(self, name: str, source: str, order: tuple[int, ...]) -> None:
        """Let ``name`` be the stored numbers of ``source``, its own axes being in ``order``."""
        self.indices[name], self.orders[name] = self.stored(source), order

    def end(self, name: str) -> int:
        """The tensor of the network's input or output."""
        return self.ordered(name, end_order(len(self.graph.values[name].shape)))

    def last_axis_last(self, operator: Operator) -> tuple[int, int]:
        """The first input and the output of an operator, in an order with the last axis last."""
        name = operator.inputs[0]
        order = self.order(name)
        if order[-1] != len(order) - 1:
            order = tuple(range(len(order)))
        return self.ordered(name, order), self.ordered(operator.output, order)

    def alike(self, operator: Operator, *, ranked: bool = False) -> tuple[list[int], int]:
        """The inputs of an operator that broadcasts, and its output, all in one order.

        Args:
            ranked: stored numbers get all axes too, not one scalar.
        """
        values = self.graph.values
        rank = len(values[operator.output].shape)
        flowing = [name for name in operator.inputs if name in values]
        whole = [name for name in flowing if len(values[name].shape) == rank]
        largest = max(whole, key=lambda name: math.prod(values[name].shape), default=None)
        order = usual_order(rank) if largest is None else self.order(largest)
        inputs = [self.operand(name, order, scalar=not ranked) for name in operator.inputs]
        return inputs, self.ordered(operator.output, order)

    def operand(self, name: str, order: tuple[int, ...], *, scalar: bool = False) -> int:
        """A value or constant with as many axes as ``order`` has, stored in that order.

        New axes are of size 1 and in front. ``scalar``: one stored number stays without axes.
        """
        if name in self.graph.constants:
            data = self.graph.constants[name].data
            if data.dtype == np.int64:  # there are kernels for int32 alone
                data = data.astype(np.int32)
            if data.size > 1 or not scalar:
                data = data.reshape((1,) * (len(order) - data.ndim) + data.shape).transpose(order)
            else:
                data = data.reshape(1)
            return self._stored_once(name, data)
        shape = self.graph.values[name].shape
        more = len(order) - len(shape)
        if not more:
            return self.ordered(name, order)
        key = name, order
        if key not in self._transposed:
            plain = self.ordered(name, tuple(range(len(shape))))
            wide = self.like(plain, f"{name}.wide_{more}", (1,) * more + shape)
            self.reshape(plain, wide)
            self._transposed[key] = self._moved(
                wide, (1,) * more + shape, order, f"{name}.wide_{more}", name
            )
        return self._transposed[key]

    def _moved(
        self, tensor: int, shape: Sequence[int], order: tuple[int, ...], label: str, value: str
    ) -> int:
        """A tensor with its axes put into ``order``; a reshape where sizes of 1 alone move."""
        if order == tuple(range(len(shape))):
            return tensor
        moved = [shape[axis] for axis in order]
        label = f"{label}.axes_{'_'.join(map(str, order))}"
        output = self.like(tensor, label, moved)
        if [n for n in shape if n > 1] == [n for n in moved if n > 1] and len(
            {n for n in shape if n > 1}
        ) == sum(n > 1 for n in shape):
            self.reshape(tensor, output)
            return output
        permutation = self.constant(f"{label}.permutation", np.array(order, np.int32))
        version = 1 if self.graph.values[value].quantization is None else 2
        options = schema.TransposeOptionsT()
        self.append(B.TRANSPOSE, [tensor, permutation], output, options, version=version)
        return output

    def _stored_once(self, name: str, data: Array) -> int:
        key = name, data.shape
        if key not in self._constants:
            label = f"{name}.{'_'.join(map(str, data.shape))}"
            self._constants[key] = self.constant(label, data)
        return self._constants[key]

    def only_layers_read(self, name: str) -> bool:
        """Whether nothing but linear layers reads a value, directly or clipped."""
        if name in self.graph.outputs:
            return False
        return all(
            op.kind == "Gemm" or (op.kind == "Clip" and self.only_layers_read(op.output))
            for op in self._readers.get(name, ())
        )

    def _transpose(self, name: str, order: tuple[int, ...]) -> int:
        source, stored = self.indices[name], self.orders[name]
        permutation = np.array([stored.index(axis) for axis in order], np.int32)
        shape = [self.graph.values[name].shape[axis] for axis in order]
        label = f"{name}.axes_{'_'.join(map(str, order))}"
        output = self.like(source, label, shape)
        inputs = [source, self.constant(f"{label}.permutation", permutation)]
        version = 1 if self.graph.values[name].quantization is None else 2
        self.append(B.TRANSPOSE, inputs, output, schema.TransposeOptionsT(), version=version)
        return output

    def like(self, tensor: int, name: str, shape: Sequence[int]) -> int:
        """A new tensor with the type and scale of another."""
        self._subgraph.tensors.append(other := schema.TensorT())
        source = self._subgraph.tensors[tensor]
        other.name, other.shape = name.encode(), np.array(shape, np.int32)
        other.type, other.quantization, other.buffer = source.type, source.quantization, 0
        return len(self._subgraph.tensors) - 1

    def constant(
        self,
        name: str,
        data: Array,
        *,
        scale: Array | None = None,
        axis: int = 0,
        once: bool = True,
    ) -> int:
        """A tensor that is stored in the file; ``scale`` for each index of ``axis``, or none.

        Args:
            once: one that equals an earlier one is that. Otherwise it stands alone, under its name.
        """
        if not once:
            return self._constant(name, data, scale, axis)
        array = np.ascontiguousarray(data)
        scales = b"" if scale is None else np.asarray(scale).tobytes()
        key = (array.dtype.str, data.shape, array.tobytes(), scales, axis)
        if key not in self._equal:
            self._equal[key] = self._constant(name, data, scale, axis)
        return self._equal[key]

    def _constant(self, name: str, data: Array, scale: Array | None, axis: int) -> int:
        q = None if scale is None else _quantization(scale, np.zeros(len(scale)), axis=axis)
        index = self._tensor(name, data.shape, str(data.dtype), q)
        self._buffers.append(_AlignedBuffer(data))
        self._subgraph.tensors[index].buffer = len(self._buffers) - 1
        return index

    def constant_like(self, tensor: int, name: str, data: Array) -> int:
        """Stored numbers, or codes in the scale of another tensor."""
        index = self.constant(name, data, once=False)
        self._subgraph.tensors[index].quantization = self._subgraph.tensors[tensor].quantization
        return index

    def lowest(self, name: str, *, like: int) -> int:
        """A stored scalar of the type and scale of another tensor: the lowest that there is."""
        integer = self._subgraph.tensors[like].type == schema.TensorType.INT8
        data = np.array(-128, np.int8) if integer else np.array(np.finfo(np.float32).min)
        return self.constant_like(like, name, data)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self._subgraph.tensors[tensor].shape)

    def version(self, operator: Operator, *, int8: int) -> int:
        """The version of a TFLite operator: 1, or the one that knows int8."""
        return int8 if self.graph.values[operator.output].quantization else 1

    def append(
        self, code: int, inputs: Sequence[int], output: int, options: Any, *, version: int
    ) -> None:
        """Add an operator; ``options`` is an object of the schema such as Conv2DOptionsT."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((code, version), len(self._codes))
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([output], np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._subgraph.operators.append(operator)

    def reshape(self, source: int, output: int) -> None:
        """Add a RESHAPE from one tensor to another."""
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(self.shape(output), np.int32)
        name = self._subgraph.tensors[output].name.decode()
        inputs = [source, self.constant(f"{name}.shape", options.newShape)]
        self.append(schema.BuiltinOperator.RESHAPE, inputs, output, options, version=1)

    def finish(self) -> bytes:
        """The whole file."""
        self._subgraph.inputs = np.array([self.end(n) for n in self.graph.inputs], np.int32)
        self._subgraph.outputs = np.array([self.end(n) for n in self.graph.outputs], np.int32)
        model = schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, b"edgeticket"
        model.subgraphs, model.buffers = [self._subgraph], self._buffers
        model.operatorCodes = [_operator_code(*key) for key in self._codes]
        size = sum(len(b.content) for b in self._buffers[1:])
        builder = _SharingBuilder(size + size // 8 + 2**16)
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    @staticmethod
    def _type(value: Value) -> str:
        return "int32" if value.dtype == "int64" else value.dtype

    def _tensor(self, name: str, shape: Sequence[int], dtype: str, quantization: Any) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
        if dtype not in TENSOR_TYPES:
            raise InputError(f"{name} holds {dtype} numbers; let the network compute in float32")
        tensor.type, tensor.quantization, tensor.buffer = TENSOR_TYPES[dtype], quantization, 0
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal vectors once, as the format allows: the zero points of an output channel, for
    one, take as many bytes as eight of its weights."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], Any] = {}

    def CreateNumpyVector(self, x: Array) -> Any:  # noqa: N802
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """The generated class ignores the alignment that the schema demands."""

    def __init__(self, data: Array) -> None:
        super().__init__()
        self.content = np.ascontiguousarray(data).reshape(-1).view(np.uint8)

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        builder.StartVector(1, len(self.content), ALIGNMENT)
        builder.head -= len(self.content)
        builder.Bytes[builder.head : builder.head + len(self.content)] = self.content.data
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _quantization(scale: npt.ArrayLike, zero_point: npt.ArrayLike, *, axis: int) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.asarray(scale, np.float32)
    quantization.zeroPoint = np.asarray(zero_point, np.int64)
    quantization.quantizedDimension = axis
    return quantization


def _operator_code(code: int, version: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.version = code, version
    entry.deprecatedBuiltinCode = min(code, 127)  # where readers of old files look
    return entry
