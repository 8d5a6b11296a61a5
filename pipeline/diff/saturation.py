"""Would an int8 ONNX file lose sums on a CPU without dot-product instructions?

There, ONNX Runtime multiplies with VPMADDUBSW: two neighbouring products of a uint8 activation and
an int8 weight are added and saturated to 16 bits (`device_runner.instructions`). Neighbours are so
in the order height, width, channel of the kernel, as its matrix kernels pack them. This repeats
that sum on real activations and real weights, so that the answer does not need such a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgeticket.pipeline.formats.onnx_model import parse_onnx

Array = npt.NDArray[Any]

LOWEST_SUM, HIGHEST_SUM = -(2**15), 2**15 - 1
ROWS = 256  # places of a map that are multiplied at a time; bounds the memory


@dataclass(frozen=True)
class Product:
    """A convolution or linear layer of the file, as matrix product.

    weight: int8 codes [outputs, inputs], inputs in the order of `rows`.
    """

    name: str
    source: str
    weight: Array
    kernel: tuple[int, int] | None  # None: a linear layer
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    padding_code: int = 0

    def rows(self, codes: Array) -> Array:
        """uint8 codes [1, C, H, W] or [1, C] -> [places, inputs], as the kernel is laid over."""
        if self.kernel is None:
            return codes.reshape(1, -1)
        top, left, bottom, right = self.pads
        margins = ((0, 0), (0, 0), (top, bottom), (left, right))
        padded = np.pad(codes, margins, constant_values=self.padding_code)
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded[0], reach, axis=(1, 2))
        windows = windows[:, :: self.strides[0], :: self.strides[1]]
        windows = windows[..., :: self.dilations[0], :: self.dilations[1]]
        channels = windows.shape[0]
        inputs = channels * self.kernel[0] * self.kernel[1]
        return windows.transpose(1, 2, 3, 4, 0).reshape(-1, inputs)


def read_products(data: bytes, *, title: str) -> list[Product]:
    """The layers of an int8 ONNX file with uint8 activations that such kernels would compute.

    Depthwise and grouped convolutions have kernels of their own, which add in 32 bits.
    """
    model = parse_onnx(data, place=title)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    real = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    products = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[0] not in real:
            continue
        source, weight = real[node.input[0]], real.get(node.input[1])
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if weight is None or weight.input[0] not in constants or given.get("group", 1) != 1:
            continue
        name = weight.input[0].removesuffix(".weight")
        codes = numpy_helper.to_array(constants[weight.input[0]])
        if node.op_type == "Gemm":
            products.append(Product(name, source.input[0], codes, None))
            continue
        zero = numpy_helper.to_array(constants[source.input[2]])
        products.append(
            Product(
                name=name,
                source=source.input[0],
                weight=codes.transpose(0, 2, 3, 1).reshape(len(codes), -1),
                kernel=codes.shape[2:],
                strides=tuple(given.get("strides", (1, 1))),
                pads=tuple(given.get("pads", (0, 0, 0, 0))),
                dilations=tuple(given.get("dilations", (1, 1))),
                padding_code=int(zero),
            )
        )
    return products


def saturated_share(product: Product, codes: Array) -> float:
    """Share 0..1 of the layer's output numbers that would be wrong, for uint8 ``codes``."""
    weight = _paired(product.weight)
    if not can_saturate(product):
        return 0.0
    rows = _paired(product.rows(codes))
    touched = 0
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        wrong = np.zeros((len(part), len(weight)), bool)
        for pair in range(weight.shape[1]):
            sums = part[:, pair] @ weight[:, pair].T
            wrong |= (sums < LOWEST_SUM) | (sums > HIGHEST_SUM)
        touched += int(wrong.sum())
    return touched / (len(rows) * len(weight))


def can_saturate(product: Product) -> bool:
    """Whether any activations at all could make a sum of two products leave 16 bits."""
    weight = _paired(product.weight)
    highest = 255 * np.maximum(weight, 0).sum(2)
    lowest = 255 * np.minimum(weight, 0).sum(2)
    return bool((highest > HIGHEST_SUM).any() or (lowest < LOWEST_SUM).any())


def _paired(matrix: Array) -> Array:
    """[n, inputs] -> float32 [n, pairs, 2], exact; an odd last one beside a zero."""
    odd = matrix.shape[1] % 2
    padded: Array = np.pad(matrix.astype(np.float32), ((0, 0), (0, odd)))
    return padded.reshape(len(matrix), -1, 2)
