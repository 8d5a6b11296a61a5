"""What ONNX operators, standard and ONNX Runtime's own, multiply and read: tables and formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import onnx

from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.external.layers import Count
from edgeticket.pipeline.external.onnx_shapes import Shape, Shapes

STANDARD = ("", "ai.onnx", "ai.onnx.ml")


def multiply(node: onnx.NodeProto, shapes: Shapes) -> Count:
    """Multiply-accumulates of one operator; 0 if it has none."""
    count = MULTIPLY.get(node.op_type)
    if count is None:
        return 0 if is_known(node) else Unavailable(f"{node.op_type} is of {node.domain}")
    try:
        macs = count(node, shapes)
    except (KeyError, IndexError, ValueError, TypeError):
        macs = 0
    if macs <= 0:
        name = node.name or (node.output[0] if node.output else "")
        return Unavailable(f"the sizes of {name} ({node.op_type}) are not known")
    return macs


def is_known(node: onnx.NodeProto) -> bool:
    """Whether an operator's cost is known here; ONNX's own have none unless the tables say so."""
    return node.domain in STANDARD or node.op_type in MULTIPLY or node.op_type in PLAIN


def _size(shape: Shape) -> int:
    return math.prod(size for size in _whole(shape))


def _whole(shape: Shape) -> tuple[int, ...]:
    known = tuple(size for size in shape if size is not None)
    if len(known) < len(shape):
        raise ValueError
    return known


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((a.i for a in node.attribute if a.name == name), 0)


Formula = Callable[[onnx.NodeProto, Shapes], int]


def _convolution(weight: int) -> Formula:
    def count(node: onnx.NodeProto, shapes: Shapes) -> int:
        kernel = _whole(shapes[node.input[weight]])  # [out, in of its group, ...]
        return _size(shapes[node.output[0]]) * math.prod(kernel[1:])

    return count


def _transposed(node: onnx.NodeProto, shapes: Shapes) -> int:
    kernel = _whole(shapes[node.input[1]])  # [in, out of its group, ...]
    return _size(shapes[node.input[0]]) * math.prod(kernel[1:])


def _product(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Of matrices, the left one first: what each value of the output sums up."""
    left = _whole(shapes[node.input[0]])
    return _size(shapes[node.output[0]]) * left[-2 if _attribute(node, "transA") else -1]


def _product_of_bits(node: onnx.NodeProto, shapes: Shapes) -> int:
    return _size(shapes[node.output[0]]) * _attribute(node, "K")


def _recurrent(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Both matrices, of all directions, for each step of each example."""
    steps = math.prod(_whole(shapes[node.input[0]])[:2])
    return steps * sum(_size(shapes[name]) for name in node.input[1:3])


def _einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    text = next(a.s for a in node.attribute if a.name == "equation").decode().replace(" ", "")
    terms = text.partition("->")[0].split(",")
    if "." in text or len(terms) != 2 or len(node.input) != 2:
        raise ValueError
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        sizes |= dict(zip(term, _whole(shapes[name]), strict=True))
    return math.prod(sizes.values())


def _uncounted(node: onnx.NodeProto, shapes: Shapes) -> int:
    raise ValueError


MULTIPLY: Mapping[str, Formula] = {
    **dict.fromkeys(("Conv", "ConvInteger", "FusedConv", "NhwcFusedConv"), _convolution(1)),
    "DeformConv": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(("Gemm", "MatMul", "QLinearMatMul", "MatMulInteger", "QGemm"), _product),
    **dict.fromkeys(("FusedMatMul", "FusedGemm", "DynamicQuantizeMatMul"), _product),
    "MatMulIntegerToFloat": _product,
    "MatMulNBits": _product_of_bits,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "Einsum": _einsum,
    **dict.fromkeys(("Attention", "MultiHeadAttention", "GroupQueryAttention"), _uncounted),
    **dict.fromkeys(("QAttention", "DynamicQuantizeLSTM", "LinearAttention"), _uncounted),
}

# Of ONNX Runtime's own operators, those that multiply no matrices.
PLAIN = frozenset(
    {
        *("QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu"),
        *("QLinearSoftmax", "QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearReduceMean"),
        *("QLinearWhere", "QuantizeLinear", "DequantizeLinear", "Gelu", "FastGelu", "QuickGelu"),
        *("BiasGelu", "SkipLayerNormalization", "SimplifiedLayerNormalization"),
        *("SkipSimplifiedLayerNormalization", "GroupNorm", "NhwcMaxPool", "BiasAdd"),
    }
)

# Inputs by position that are no weights though they may be real numbers.
_SCALES = tuple(range(1, 20))
SETTINGS: Mapping[str, Collection[int]] = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearConcat": tuple(i for i in range(300) if i < 2 or (i - 2) % 3),
    **dict.fromkeys(
        (
            *("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearAveragePool"),
            *("QLinearGlobalAveragePool", "QLinearReduceMean"),
        ),
        _SCALES,
    ),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "MatMulNBits": (2, 3, 4),
    "BatchNormalization": (3, 4),
    "LSTM": (4, 5, 6),
    "GRU": (4, 5),
    "RNN": (4, 5),
    **dict.fromkeys(("Clip", "Pad", "Resize", "Upsample", "Slice", "Tile", "Range"), _SCALES),
    **dict.fromkeys(("Expand", "Reshape", "OneHot", "TopK", "Dropout", "CumSum"), _SCALES),
    **dict.fromkeys(("NonMaxSuppression", "Pow", "Trilu"), _SCALES),
    "ConstantOfShape": (0,),
}

# Inputs by position where whole numbers are weights.
INTEGERS: Mapping[str, Collection[int]] = {
    "DequantizeLinear": (0,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3),
    "QLinearConcat": tuple(range(2, 300, 3)),
    "QGemm": (3, 6),
    "ConvInteger": (1,),
    "MatMulInteger": (0, 1),
    "DynamicQuantizeMatMul": (1,),
    "MatMulIntegerToFloat": (1,),
    "MatMulNBits": (1,),
}

# What hands a constant on, or only writes it otherwise: the layer behind it has the weight.
HANDING_ON = frozenset(
    {
        *("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose", "Reshape"),
        *("Squeeze", "Unsqueeze", "Flatten"),
    }
)

# Weights that are packed, by operator and position: how many there are really.
PACKED: Mapping[tuple[str, int], Callable[[onnx.NodeProto], int]] = {
    ("MatMulNBits", 1): lambda node: _attribute(node, "N") * _attribute(node, "K"),
}
