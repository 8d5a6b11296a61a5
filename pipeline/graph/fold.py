"""Norms by stored statistics become part of layers, and layers become those that kernels have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from edgeticket.pipeline.graph.graph import Array, Constant, Graph, Operator
from edgeticket.pipeline.graph.subpixel import as_convolution

FUSIBLE = frozenset({"Conv", "ConvTranspose", "Gemm"})


def fold(graph: Graph) -> Graph:
    """The same function without BatchNormalization and ConvTranspose.

    A norm goes into the layer before it, where nothing else reads that; another one becomes a
    depthwise convolution. A transposed convolution becomes a convolution and DepthToSpace
    (`subpixel`). A clamp behind a max pool moves in front of it, where it can fuse with a layer.
    """
    work = _Fold(graph)
    for operator in graph.operators:
        work.take(operator)
    return work.finish()


class _Fold:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values = dict(graph.values)
        self.constants = dict(graph.constants)
        self.operators: dict[str, Operator] = {}  # by output, in order
        self.renamed: dict[str, str] = {}
        self.readers = Counter(name for op in graph.operators for name in op.inputs)
        self.readers.update(graph.outputs)

    def take(self, operator: Operator) -> None:
        inputs = tuple(self.renamed.get(name, name) for name in operator.inputs)
        operator = replace(operator, inputs=inputs)
        if operator.kind == "BatchNormalization":
            self._norm(operator)
        elif operator.kind == "Clip":
            self._clip(operator)
        else:
            self.operators[operator.output] = operator

    def _norm(self, norm: Operator) -> None:
        source = norm.inputs[0]
        layer = self.operators.get(source)
        if (
            layer is not None
            and layer.kind in FUSIBLE
            and self.readers[source] == 1
            and source not in self.graph.outputs
            and not self._is_rounded(layer)
        ):
            weight, bias = _fused(layer, norm, self.constants)
            names = self._store(layer, weight, bias)
            origin = (*layer.origin[:1], *norm.origin[:1])
            fused = replace(layer, inputs=(layer.inputs[0], *names), origin=origin)
            self.operators[source] = fused
            self._rename(norm.output, source)
        else:
            self._depthwise(norm)

    def _is_rounded(self, operator: Operator) -> bool:
        """Whether numbers that it reads, has or makes are rounded: then it must stay as it is."""
        names = (*operator.inputs, operator.output)
        values = [self.values[name].quantization for name in names if name in self.values]
        scales = [self.constants[name].scale for name in names if name in self.constants]
        return any(rounded is not None for rounded in (*values[1:], *scales))

    def _depthwise(self, norm: Operator) -> None:
        """A scale and a shift for each channel, as a convolution of each by itself."""
        weight, bias, mean, variance = (
            self.constants[name].data.astype(np.float64) for name in norm.inputs[1:]
        )
        factor = weight / np.sqrt(variance + norm.attributes["epsilon"])
        shift = (bias - mean * factor).astype(np.float32)
        shape = self.values[norm.output].shape
        channels, axes = shape[1], len(shape) - 2
        if axes not in (1, 2):
            self._vector(norm, factor.astype(np.float32), shift)
            return
        kernel = factor.astype(np.float32).reshape(channels, 1, *[1] * axes)
        names = self._store(norm, kernel, shift)
        self.operators[norm.output] = Operator(
            norm.name,
            "Conv",
            (norm.inputs[0], *names),
            norm.output,
            {
                "dilations": [1] * axes,
                "group": channels,
                "kernel_shape": [1] * axes,
                "pads": [0] * 2 * axes,
                "strides": [1] * axes,
            },
            None,
            ("", *norm.origin[:1]),
        )

    def _vector(self, norm: Operator, factor: Array, shift: Array) -> None:
        column = (-1, *[1] * (len(self.values[norm.output].shape) - 2))
        scaled = f"{norm.output}_scaled"
        names = self._store(norm, factor.reshape(column), shift.reshape(column))
        self.values[scaled] = replace(self.values[norm.output], name=scaled)
        self.operators[scaled] = Operator(scaled, "Mul", (norm.inputs[0], names[0]), scaled)
        self.operators[norm.output] = Operator(norm.name, "Add", (scaled, names[1]), norm.output)

    def _clip(self, clip: Operator) -> None:
        """clamp(max(x)) = max(clamp(x)): in front of the pool the clamp can fuse with a layer."""
        pool = self.operators.get(clip.inputs[0])
        if (
            pool is None
            or pool.kind != "MaxPool"
            or self.readers[pool.output] != 1
            or self.readers[pool.inputs[0]] != 1
            or pool.inputs[0] not in self.operators
            or self._is_rounded(pool)
        ):
            self.operators[clip.output] = clip
            return
        del self.operators[pool.output]
        wide = replace(self.values[clip.output], shape=self.values[pool.inputs[0]].shape)
        self.values[clip.output] = wide
        self.operators[clip.output] = replace(clip, inputs=pool.inputs)
        self.operators[pool.output] = replace(pool, inputs=(clip.output,))
        # Whoever read the clamp reads the pool now.
        self._rename(clip.output, pool.output)
        self.readers[clip.output] = 1

    def _rename(self, old: str, new: str) -> None:
        self.renamed[old] = new
        self.readers[new] = self.readers[old]

    def _store(self, operator: Operator, weight: Array, bias: Array) -> tuple[str, str]:
        names = f"{operator.name}.folded.weight", f"{operator.name}.folded.bias"
        self.constants |= {names[0]: Constant(weight), names[1]: Constant(bias)}
        return names

    def finish(self) -> Graph:
        operators: list[Operator] = []
        for operator in self.operators.values():
            if operator.kind == "ConvTranspose":
                steps, values, constants = as_convolution(operator, self.values, self.constants)
                operators += steps
                self.values |= {value.name: value for value in values}
                self.constants |= constants
            else:
                operators.append(operator)
        outputs = tuple(self.renamed.get(name, name) for name in self.graph.outputs)
        return tidy(
            Graph(self.graph.inputs, outputs, tuple(operators), self.values, self.constants)
        )


def tidy(graph: Graph) -> Graph:
    """Without the values and constants that nothing names."""
    used = {n for op in graph.operators for n in (*op.inputs, op.output)}
    used.update((*graph.inputs, *graph.outputs))
    values = {name: value for name, value in graph.values.items() if name in used}
    constants = {name: c for name, c in graph.constants.items() if name in used}
    return replace(graph, values=values, constants=constants)


def _fused(
    layer: Operator, norm: Operator, constants: Mapping[str, Constant]
) -> tuple[Array, Array]:
    """The weight and bias of a layer with the norm behind it in them, as PyTorch computes them."""
    weight, *bias = (torch.from_numpy(constants[name].data) for name in layer.inputs[1:])
    scale, shift, mean, variance = (torch.from_numpy(constants[n].data) for n in norm.inputs[1:])
    epsilon = norm.attributes["epsilon"]
    with torch.no_grad():
        fused: tuple[Tensor, Tensor]
        if layer.kind == "Gemm":
            fused = fuse_linear_bn_weights(
                weight, bias[0] if bias else None, mean, variance, epsilon, scale, shift
            )
        elif layer.kind == "ConvTranspose":
            fused = _fused_transposed(layer, weight, bias, (mean, variance, scale, shift), epsilon)
        else:
            fused = fuse_conv_bn_weights(
                weight, bias[0] if bias else None, mean, variance, epsilon, scale, shift
            )
    return fused[0].detach().numpy(), fused[1].detach().numpy()


def _fused_transposed(
    layer: Operator, weight: Tensor, bias: list[Tensor], norm: tuple[Tensor, ...], epsilon: float
) -> tuple[Tensor, Tensor]:
    mean, variance, scale, shift = norm
    factor = scale * torch.rsqrt(variance + epsilon)
    groups = layer.attributes["group"]
    inputs, outputs = weight.shape[:2]
    by_group = weight.reshape(groups, inputs // groups, outputs, *weight.shape[2:])
    column = factor.reshape(groups, 1, outputs, *[1] * (weight.ndim - 2))
    before = bias[0] if bias else torch.zeros_like(mean)
    return (by_group * column).reshape(weight.shape), (before - mean) * factor + shift
