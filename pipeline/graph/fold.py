"""Norms by stored statistics become part of layers, and layers become those that kernels have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from edgeticket.pipeline.graph.affine import Affine, affine_of
from edgeticket.pipeline.graph.gates import with_hard_sigmoids
from edgeticket.pipeline.graph.graph import (
    HIGHEST,
    LOWEST,
    Arranged,
    Array,
    Constant,
    Graph,
    Operator,
    Scaled,
)
from edgeticket.pipeline.graph.subpixel import as_convolution
from edgeticket.pipeline.operators import KINDS

FUSIBLE = frozenset({"Conv", "ConvTranspose", "Gemm"})


def fold(graph: Graph) -> Graph:
    """The same function without BatchNormalization and ConvTranspose.

    A norm goes into the layer before it, where nothing else reads that; another one becomes a
    depthwise convolution. So does what multiplies and shifts channels by stored numbers
    (`affine`). A transposed convolution becomes a convolution and DepthToSpace
    (`subpixel`); in a quantised graph the clamp behind it stays with that convolution. A clamp
    behind a max pool moves in front of it, where it can fuse with a layer.
    """
    if not graph.is_quantized():  # else numbers in the middle of one may be rounded
        graph = with_hard_sigmoids(graph)
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
        self.scaled: dict[str, Scaled] = dict(graph.scaled)
        # What is called twice is one weight, also with a norm or a factor in it.
        self.fused: dict[tuple[Any, ...], tuple[str, str]] = {}
        self.readers = Counter(name for op in graph.operators for name in op.inputs)
        self.readers.update(graph.outputs)

    def take(self, operator: Operator) -> None:
        inputs = tuple(self.renamed.get(name, name) for name in operator.inputs)
        operator = replace(operator, inputs=inputs)
        if operator.kind == "BatchNormalization":
            self._norm(operator)
        elif operator.kind == "Clip":
            self._clip(operator)
        elif not self._affine(operator):
            if operator.kind == "PadNumber" and self._pads_by_a_code(operator):
                operator = replace(operator, kind="Pad")
            self.operators[operator.output] = operator

    def _pads_by_a_code(self, pad: Operator) -> bool:
        """Whether the number that it pads by is one that the codes of its input stand for."""
        rounded = self.values[pad.inputs[0]].quantization
        if rounded is None or self.values[pad.output].quantization != rounded:
            return False
        number = float(pad.attributes["value"])
        code = rounded.code(number)
        meant = float(rounded.scale) * (code - rounded.zero_point)
        return LOWEST <= code <= HIGHEST and math.isclose(meant, number, rel_tol=1e-5)

    def _norm(self, norm: Operator) -> None:
        source = norm.inputs[0]
        layer = self.operators.get(source)
        if (
            layer is not None
            and layer.kind in FUSIBLE
            and self.readers[source] == 1
            and source not in self.graph.outputs
            and not self._has_codes(layer)
        ):
            key = (layer.kind, *layer.inputs[1:], *norm.inputs[1:], norm.attributes["epsilon"])
            if key not in self.fused:
                self.fused[key] = self._store(layer, *_fused(layer, norm, self.constants))
            names = self.fused[key]
            origin = ((*layer.origin, "")[0], (*norm.origin, "")[0], *layer.origin[2:])
            if source in self.scaled:  # its own weights cannot be told from these any more
                origin = ("", "", *layer.origin[2:])
            fused = replace(layer, inputs=(layer.inputs[0], *names), origin=origin)
            self.operators[source] = fused
            self._rename(norm.output, source)
        else:
            self._depthwise(norm)

    def _has_codes(self, operator: Operator) -> bool:
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
        shift = bias - mean * factor
        if len(self.values[norm.output].shape) in (3, 4):
            self._by_channel(
                norm, norm.inputs[0], factor, shift, ("", (*norm.origin, "")[0], *norm.origin[2:])
            )
        else:
            self._vector(norm, factor.astype(np.float32), shift.astype(np.float32))

    def _by_channel(
        self,
        operator: Operator,
        source: str,
        factor: Array,
        shift: Array,
        origin: tuple[str, ...],
    ) -> None:
        channels, *sizes = self.values[operator.output].shape[1:]
        axes = len(sizes)
        kernel = factor.astype(np.float32).reshape(channels, 1, *[1] * axes)
        names = self._store(operator, kernel, shift.astype(np.float32))
        attributes = {
            "dilations": [1] * axes,
            "group": channels,
            "kernel_shape": [1] * axes,
            "pads": [0] * 2 * axes,
            "strides": [1] * axes,
        }
        self.operators[operator.output] = Operator(
            operator.name, "Conv", (source, *names), operator.output, attributes, None, origin
        )

    def _affine(self, operator: Operator) -> bool:
        """A stored factor and shift into the layer before, or as a convolution of each channel.

        The latter where it lies between integer steps: alone it would be computed in float32.
        """
        step = affine_of(operator, self.values, self.constants)
        if step is None or self.graph.is_quantized():  # which says itself what is rounded
            return False
        layer = self._layer_before(step.source, step.axis)
        if layer is not None:
            self._scale(layer, step)
            self._rename(operator.output, step.source)
            return True
        is_map = len(self.values[operator.output].shape) in (3, 4) and step.axis in (1, None)
        if not is_map or not self._is_rounded(step.source) or not self._is_coded(operator.output):
            return False
        factor, shift = step.spread(self.values[operator.output].shape[1])
        self._by_channel(operator, step.source, factor, shift, ("", "", *operator.origin[2:]))
        return True

    def _layer_before(self, name: str, axis: int | None) -> Operator | None:
        """The layer whose output channels lie along that axis, if nothing else reads them."""
        maker = self.operators.get(name)
        while maker is not None and self._is_alone(name):
            if maker.kind in FUSIBLE:
                last = len(self.values[name].shape) - 1
                channels = last if maker.kind == "Gemm" else 1
                coded = self.constants[maker.inputs[1]].scale is not None
                return maker if axis in (None, channels) and not coded else None
            if maker.kind == "Transpose":
                axis = None if axis is None else maker.attributes["perm"][axis]
            elif maker.kind not in ("Reshape", "Flatten") or axis is not None:
                return None
            name = maker.inputs[0]
            maker = self.operators.get(name)
        return None

    def _scale(self, layer: Operator, step: Affine) -> None:
        weight, *bias = (self.constants[n].data.astype(np.float64) for n in layer.inputs[1:])
        group = layer.attributes.get("group", 1)
        transposed = layer.kind == "ConvTranspose"  # [inputs, outputs / group, ...]
        outputs = weight.shape[1] * group if transposed else len(weight)
        factor, shift = step.spread(outputs)
        if transposed:
            parts = weight.reshape(group, -1, *weight.shape[1:])
            column = factor.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
            scaled = (parts * column).reshape(weight.shape)
        else:
            scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        before = bias[0] if bias else np.zeros(outputs)
        shifted = before * factor + shift
        key = (layer.kind, *layer.inputs[1:], factor.tobytes(), shift.tobytes())
        if key not in self.fused:
            stored = scaled.astype(np.float32), shifted.astype(np.float32)
            self.fused[key] = self._store(layer, *stored)
        names = self.fused[key]
        inputs = (layer.inputs[0], *names) if bias or shift.any() else (layer.inputs[0], names[0])
        self.operators[layer.output] = replace(layer, inputs=inputs)
        last = self.scaled.get(layer.output)
        self.scaled[layer.output] = (
            Scaled(factor, shift)
            if last is None
            else Scaled(factor * last.factor, factor * last.shift + shift)
        )

    def _is_alone(self, name: str) -> bool:
        return self.readers[name] == 1 and name not in self.graph.outputs

    def _is_rounded(self, name: str) -> bool:
        """Whether int8 files hold codes there, before anything says so."""
        maker = self.operators.get(name)
        if maker is None:
            return name in self.graph.inputs
        kind = KINDS[maker.kind]
        if kind.keeps_codes:
            return all(self._is_rounded(n) for n in maker.inputs if n not in self.constants)
        return not kind.real

    def _is_coded(self, name: str) -> bool:
        """Whether any that reads a value of the graph can do so as codes."""
        if name in self.graph.outputs:
            return True
        for op in self.graph.operators:
            if name not in op.inputs:
                continue
            kind = KINDS[op.kind]
            if kind.keeps_codes:
                if self._is_coded(op.output):
                    return True
            elif not kind.real or affine_of(op, self.graph.values, self.constants) is not None:
                return True
        return False

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
        if pool is not None and self._clips_codes(pool):
            del self.operators[pool.output]
            self.operators[clip.output] = replace(pool, output=clip.output, clamp=clip.clamp)
            return
        if (
            pool is None
            or pool.kind != "MaxPool"
            or self.readers[pool.output] != 1
            or self.readers[pool.inputs[0]] != 1
            or pool.inputs[0] not in self.operators
            or self._has_codes(pool)
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

    def _clips_codes(self, layer: Operator) -> bool:
        """Whether a clamp behind it can be its: else it would make real numbers for the clamp."""
        return (
            layer.kind == "ConvTranspose"
            and layer.clamp is None
            and self.graph.is_quantized()
            and self.values[layer.output].quantization is None
            and self._is_alone(layer.output)
        )

    def _rename(self, old: str, new: str) -> None:
        self.renamed[old] = new
        self.readers[new] = self.readers[old]

    def _store(self, operator: Operator, weight: Array, bias: Array) -> tuple[str, str]:
        names = f"{operator.name}.folded.weight", f"{operator.name}.folded.bias"
        while self._others_read(names[0], operator):
            names = f"{names[0]}_", f"{names[1]}_"
        self.constants |= {names[0]: Constant(weight), names[1]: Constant(bias)}
        return names

    def _others_read(self, name: str, operator: Operator) -> bool:
        if name not in self.constants:
            return False
        others = (op for op in self.operators.values() if op.name != operator.name)
        return any(name in op.inputs for op in others)

    def finish(self) -> Graph:
        operators: list[Operator] = []
        arranged: dict[str, Arranged] = {}
        for operator in self.operators.values():
            if operator.kind == "ConvTranspose":
                steps, values, constants, one = as_convolution(
                    operator, self.values, self.constants
                )
                operators += steps
                arranged |= one
                if operator.output in self.scaled:
                    (layer,) = one
                    self.scaled[layer] = self.scaled.pop(operator.output)
                self.values |= {value.name: value for value in values}
                self.constants |= constants
            else:
                operators.append(operator)
        outputs = tuple(self.renamed.get(name, name) for name in self.graph.outputs)
        folded = replace(self.graph, outputs=outputs, operators=tuple(operators))
        return tidy(
            replace(
                folded,
                values=self.values,
                constants=self.constants,
                scaled=self.scaled,
                arranged=arranged,
            )
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
