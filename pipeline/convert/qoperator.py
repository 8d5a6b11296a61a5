"""Operators on codes -> the same between DequantizeLinear and QuantizeLinear.

ONNX Runtime writes quantised networks in two forms. In its QOperator form each operator takes codes
with their scales (QLinearConv, and others of com.microsoft); here it becomes the other form. What
only moves codes (Reshape, MaxPool, Clip on codes) is wrapped likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.graph import Array

Scale = tuple[str, str]
"""Names of a scale and of a zero point; the latter may be absent: ""."""

CODE_TYPES = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
BIAS_TYPES = frozenset({onnx.TensorProto.INT32})
STANDARD = ("", "ai.onnx")


def as_qdq(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """A copy of ``model`` in which every operator computes on real numbers.

    Raises:
        InputError: an operator on codes whose meaning is not known here.
    """
    work = _Rewriter(model, place)
    for node in model.graph.node:
        work.take(node)
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    del rewritten.graph.node[:]
    rewritten.graph.node.extend(work.nodes)
    rewritten.graph.initializer.extend(work.tensors)
    return rewritten


class _Rewriter:
    """Nodes so far, and the scale of each value that is codes."""

    def __init__(self, model: onnx.ModelProto, place: str) -> None:
        self.place = place
        self.version = max(e.version for e in model.opset_import if e.domain in STANDARD)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.scales: dict[str, Scale] = {}
        self.constants: dict[str, onnx.TensorProto] = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self.codes = {  # inputs that are codes: their scale is where they are first read
            value.name
            for value in model.graph.input
            if value.type.tensor_type.elem_type in CODE_TYPES and value.name not in self.constants
        }
        self._names = {name for node in model.graph.node for name in (*node.input, *node.output)}
        self._names |= self.constants.keys()
        self._real: dict[str, str] = {}

    def take(self, node: onnx.NodeProto) -> None:
        """Append what stands for ``node``."""
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            self._convert(node)
        elif node.op_type in READERS:
            READERS[node.op_type](self, node)
        elif self.codes.intersection(node.input) and node.domain in STANDARD:
            self._on_codes(node)
        else:
            self.nodes.append(node)

    def _convert(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.domain = ""  # com.microsoft has them too
        self.nodes.append(copy)
        scale = node.input[1], (*node.input, "")[2]
        zero_point = self.constants.get(scale[1])
        if zero_point is not None and zero_point.data_type not in CODE_TYPES | BIAS_TYPES:
            dtype = onnx.TensorProto.DataType.Name(zero_point.data_type).lower()
            raise InputError(
                f"{self.place}: {node.name or node.output[0]} ({node.op_type}) has codes that are "
                f"{dtype}; quantise to int8 or uint8"
            )
        if node.op_type == "QuantizeLinear":
            self.made(node.output[0], scale)
        elif node.input[0] in self.codes:
            self.scales.setdefault(node.input[0], scale)

    def _on_codes(self, node: onnx.NodeProto) -> None:
        """The scale of what it reads is the scale of what it makes."""
        source = next(name for name in node.input if name in self.codes)
        if source not in self.scales:
            raise self.refuse(node, "reads codes whose scale is not known yet")
        scale = self.scales[source]
        inputs = [self._operand(name, scale) for name in node.input]
        if node.op_type == "Pad" and len(inputs) < 3 and scale[1]:  # it pads with the code 0
            zero = numpy_helper.to_array(self.constants[scale[1]])
            inputs.append(self._operand(self.stored(f"{node.name}_fill", zero * 0), scale))
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = inputs
        copy.output[:] = [self.fresh(f"{name}_real") if name else "" for name in node.output]
        self.nodes.append(copy)
        for real, name in zip(copy.output, node.output, strict=True):
            if name:
                self.quantize(real, scale, name)

    def _operand(self, name: str, scale: Scale) -> str:
        constant = self.constants.get(name)
        coded = constant is not None and constant.data_type in CODE_TYPES
        return self.real(name, scale) if coded or name in self.codes else name

    def made(self, name: str, scale: Scale) -> None:
        """``name`` is codes of that scale."""
        self.codes.add(name)
        self.scales[name] = scale

    def refuse(self, node: onnx.NodeProto, reason: str) -> InputError:
        """The sentence for a node that cannot be had."""
        label = f"{self.place}: {node.name or node.output[0]} ({node.op_type})"
        return InputError(f"{label} {reason}: export the network in the QDQ format")

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        candidate, count = name, 0
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate

    def stored(self, name: str, data: Any) -> str:
        """A new constant -> its name."""
        name = self.fresh(name)
        self.constants[name] = numpy_helper.from_array(np.asarray(data), name)
        self.tensors.append(self.constants[name])
        return name

    def array(self, node: onnx.NodeProto, name: str) -> Array:
        """The numbers of a constant."""
        if name not in self.constants:
            raise self.refuse(node, f"computes {name} from the input, which must be a constant")
        array: Array = numpy_helper.to_array(self.constants[name])
        return array

    def node(self, like: onnx.NodeProto, kind: str, inputs: Sequence[str], **more: Any) -> str:
        """The real operator of a node on codes, with its attributes -> its output."""
        output = self.fresh(f"{like.output[0]}_real")
        made = helper.make_node(kind, inputs, [output], name=like.name, **more)
        self.nodes.append(made)
        return output

    def real(self, name: str, scale: Scale, *, axis: int | None = None) -> str:
        """What codes stand for."""
        if name in self.codes:
            self.scales.setdefault(name, scale)
        if name not in self._real:
            self._real[name] = self.fresh(f"{name}_real")
            inputs = [name, *filter(None, scale)]
            more: dict[str, Any] = {} if axis is None else {"axis": axis}
            self.nodes.append(
                helper.make_node("DequantizeLinear", inputs, [self._real[name]], **more)
            )
        return self._real[name]

    def quantize(self, real: str, scale: Scale, output: str) -> None:
        """Round to codes."""
        self.nodes.append(
            helper.make_node("QuantizeLinear", [real, *filter(None, scale)], [output])
        )
        self.made(output, scale)

    def weight(self, node: onnx.NodeProto, name: str, scale: Scale, *, axis: int) -> str:
        """A stored matrix or kernel, with a scale for each index of ``axis`` or one for all."""
        by_channel = self.array(node, scale[0]).size > 1
        return self.real(name, scale, axis=axis if by_channel else None)

    def bias(self, node: onnx.NodeProto, name: str, x: Scale, weight: Scale, factor: float) -> str:
        """int32 counts of input scale × weight scale."""
        steps = self.array(node, x[0]) * self.array(node, weight[0]) * np.float32(factor)
        scale = self.stored(f"{name}_scale", np.asarray(steps, np.float32))
        return self.real(name, (scale, ""), axis=0 if np.size(steps) > 1 else None)


Reader = Callable[[_Rewriter, onnx.NodeProto], None]


def attributes(node: onnx.NodeProto, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """The attributes of a node; those named in ``without`` are left out."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value for name, value in found.items() if name not in without}


def _pairs(names: Sequence[str], count: int) -> list[str]:
    """Inputs of a node, the absent ones as ""."""
    return [*names, *[""] * (count - len(names))]


def _convolution(kind: str) -> Reader:
    def read(work: _Rewriter, node: onnx.NodeProto) -> None:
        x, xs, xz, w, ws, wz, ys, yz, bias = _pairs(node.input, 9)
        axis = 0 if kind == "Conv" else 1
        inputs = [work.real(x, (xs, xz)), work.weight(node, w, (ws, wz), axis=axis)]
        if bias:
            inputs.append(work.bias(node, bias, (xs, xz), (ws, wz), 1.0))
        if attributes(node).get("channels_last"):
            raise work.refuse(node, "has its channels last")
        more = attributes(node, without=("channels_last",))
        work.quantize(work.node(node, kind, inputs, **more), (ys, yz), node.output[0])

    return read


def _matrix_product(work: _Rewriter, node: onnx.NodeProto) -> None:
    a, as_, az, b, bs, bz, ys, yz = _pairs(node.input, 8)
    second = (
        work.weight(node, b, (bs, bz), axis=-1) if b in work.constants else work.real(b, (bs, bz))
    )
    product = work.node(node, "MatMul", [work.real(a, (as_, az)), second])
    work.quantize(product, (ys, yz), node.output[0])


def _gemm(work: _Rewriter, node: onnx.NodeProto) -> None:
    a, as_, az, b, bs, bz, bias, ys, yz = _pairs(node.input, 9)
    more = attributes(node)
    axis = 0 if more.get("transB") else 1
    inputs = [work.real(a, (as_, az)), work.weight(node, b, (bs, bz), axis=axis)]
    if bias:
        inputs.append(work.bias(node, bias, (as_, az), (bs, bz), more.get("alpha", 1.0)))
    real = work.node(node, "Gemm", inputs, **more)
    if ys:
        work.quantize(real, (ys, yz), node.output[0])
    else:
        work.nodes.append(helper.make_node("Identity", [real], [node.output[0]]))


def _two_sided(kind: str) -> Reader:
    def read(work: _Rewriter, node: onnx.NodeProto) -> None:
        a, as_, az, b, bs, bz, ys, yz = _pairs(node.input, 8)
        inputs = [work.real(a, (as_, az)), work.real(b, (bs, bz))]
        work.quantize(work.node(node, kind, inputs), (ys, yz), node.output[0])

    return read


def _one_sided(kind: str) -> Reader:
    def read(work: _Rewriter, node: onnx.NodeProto) -> None:
        x, xs, xz, ys, yz = _pairs(node.input, 5)
        more = attributes(node)
        if more.pop("channels_last", 0):
            raise work.refuse(node, "has its channels last")
        more.pop("opset", None)
        inputs = [work.real(x, (xs, xz))]
        if kind == "ReduceMean" and work.version >= 18:
            axes = more.pop("axes", None)
            if axes is not None:
                inputs.append(work.stored(f"{node.output[0]}_axes", np.array(axes, np.int64)))
        work.quantize(work.node(node, kind, inputs, **more), (ys, yz), node.output[0])

    return read


def _concat(work: _Rewriter, node: onnx.NodeProto) -> None:
    ys, yz, *sources = node.input
    inputs = [
        work.real(sources[i], (sources[i + 1], sources[i + 2])) for i in range(0, len(sources), 3)
    ]
    work.quantize(work.node(node, "Concat", inputs, **attributes(node)), (ys, yz), node.output[0])


def _dynamic(work: _Rewriter, node: onnx.NodeProto) -> None:
    raise InputError(
        f"{work.place}: {node.name or node.output[0]} ({node.op_type}) finds its scales while it "
        "runs; quantise the network statically, with examples to calibrate it"
    )


READERS: Mapping[str, Reader] = {
    "ConvInteger": _dynamic,
    "DynamicQuantizeLinear": _dynamic,
    "DynamicQuantizeMatMul": _dynamic,
    "MatMulInteger": _dynamic,
    "MatMulIntegerToFloat": _dynamic,
    "QGemm": _gemm,
    "QLinearAdd": _two_sided("Add"),
    "QLinearAveragePool": _one_sided("AveragePool"),
    "QLinearConcat": _concat,
    "QLinearConv": _convolution("Conv"),
    "QLinearConvTranspose": _convolution("ConvTranspose"),
    "QLinearGlobalAveragePool": _one_sided("GlobalAveragePool"),
    "QLinearLeakyRelu": _one_sided("LeakyRelu"),
    "QLinearMatMul": _matrix_product,
    "QLinearMul": _two_sided("Mul"),
    "QLinearReduceMean": _one_sided("ReduceMean"),
    "QLinearSigmoid": _one_sided("Sigmoid"),
    "QLinearSoftmax": _one_sided("Softmax"),
}
