"""Scales for each channel of an activation become part of the layers around it.

Such an activation is read as x = steps · counts, where the counts are rounded with one scale (see
`operators.rounding`). A grouped convolution whose groups each have one step takes it into the
scales of its weight: w · (steps · counts) = (w · steps) · counts. The layer that makes x makes
counts, when its weight's scales and its bias are divided by the steps. Codes stay what they are.
NNCF gives depthwise layers such inputs. Where zero points differ, too, they are subtracted from
counts, or added to them, and become part of biases, unless zeros are padded: other codes in each.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from edgeticket.pipeline.graph.graph import (
    HIGHEST,
    LOWEST,
    Array,
    Constant,
    Graph,
    Operator,
    Quantization,
)

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def steps_into_layers(graph: Graph) -> Graph:
    """The same function, with steps of channels in the weights of layers where they fit."""
    work = _Steps(graph)
    for operator in graph.operators:
        if operator.kind == "Conv":
            work.read(operator)
    for operator in graph.operators:
        if operator.kind == "Div":
            work.make(operator)
    return work.finish()


class _Steps:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values, self.constants = dict(graph.values), dict(graph.constants)
        self.operators = {op.output: op for op in graph.operators}
        self.readers = Counter(name for op in graph.operators for name in op.inputs)
        self.readers.update(graph.outputs)

    def read(self, layer: Operator) -> None:
        """A layer reads counts, if its weight is codes and each of its groups has one step."""
        source, weight = layer.inputs[0], self.constants[layer.inputs[1]]
        pad = self.operators.get(source)
        if pad is not None and _adds_zeros(pad) and self.readers[source] == 1:
            source = pad.inputs[0]
        else:
            pad = None
        scaled = self.operators.get(source)
        if scaled is None or scaled.kind != "Mul" or weight.scale is None:
            return
        steps, counts = self._steps(scaled), scaled.inputs[0]
        shift, zeros = self.operators.get(counts), None
        if shift is not None and shift.kind == "Sub" and not self._is_rounded(counts):
            zeros, counts = self._numbers(shift), shift.inputs[0]
            if zeros is None or pad is not None or any(layer.attributes["pads"]):
                return
        if steps is None or not self._is_rounded(counts) or self._is_rounded(source):
            return
        parts = steps.reshape(layer.attributes["group"], -1)
        if (parts != parts[:, :1]).any():
            return
        with np.errstate(over="ignore"):
            scale = weight.scale * np.repeat(parts[:, 0], len(weight.data) // len(parts))
        if not _are_scales(scale):
            return
        names = [self._store(layer, "weight", replace(weight, scale=scale)), *layer.inputs[2:]]
        if zeros is not None:
            bias = self._bias_without(zeros, layer, replace(weight, scale=scale))
            names = [names[0], self._store(layer, "bias", bias)]
        if pad is not None:
            self.operators[pad.output] = replace(pad, inputs=(counts, *pad.inputs[1:]))
            counts = pad.output
        self.operators[layer.output] = replace(layer, inputs=(counts, *names))

    def _bias_without(self, zeros: Array, layer: Operator, weight: Constant) -> Constant:
        """The bias of a layer that reads codes, not codes less their zero points."""
        assert weight.scale is not None
        outputs, group = len(weight.data), layer.attributes["group"]
        sums = weight.data.reshape(*weight.data.shape[:2], -1).astype(np.float64).sum(2)
        seen = np.repeat(zeros.reshape(group, -1), outputs // group, axis=0)
        bias = [self.constants[name].data.astype(np.float64) for name in layer.inputs[2:]]
        moved = sum(bias) - weight.scale * (sums * seen).sum(1)
        return Constant(moved.astype(np.float32))

    def make(self, divide: Operator) -> None:
        """A layer makes counts, if its weight is codes, and what clips it clips all alike."""
        steps, last, zeros = self._steps(divide), divide, np.zeros(1)
        shift = next((op for op in self.operators.values() if divide.output in op.inputs), None)
        if shift is not None and shift.kind == "Add" and self.readers[divide.output] == 1:
            numbers = self._numbers(shift)
            if numbers is not None:
                last, zeros = shift, numbers
        rounding = self.values[last.output].quantization
        if steps is None or rounding is None or (last is shift and self._is_rounded(divide.output)):
            return
        chain: list[Operator] = []  # the layer, and a clip behind it
        name = divide.inputs[0]
        while self.readers[name] == 1 and not self._is_rounded(name) and name in self.operators:
            chain.insert(0, self.operators[name])
            if chain[0].kind != "Clip" or len(chain) > 1:
                break
            name = chain[0].inputs[0]
        if not chain or chain[0].kind not in CONVOLUTIONS:
            return
        layer, *clips = chain
        weight = self.constants[layer.inputs[1]]
        bounds = [clip_of_counts(clip.clamp, steps, zeros, rounding) for clip in clips]
        if weight.scale is None or not self._is_rounded(layer.inputs[0]) or None in bounds:
            return
        with np.errstate(over="ignore"):
            scale = (weight.scale / steps).astype(np.float32)
        if not _are_scales(scale):
            return
        names = [self._store(layer, "weight", replace(weight, scale=scale))]
        biases = [self.constants[name].data.astype(np.float64) for name in layer.inputs[2:]]
        if biases or zeros.any():
            moved = (sum(biases) / steps + zeros).astype(np.float32)
            names.append(self._store(layer, "bias", Constant(moved)))
        made = [replace(layer, inputs=(layer.inputs[0], *names))]
        made += [replace(c, clamp=b) for c, b in zip(clips, bounds, strict=True) if _clips(b)]
        for operator in {op.output: op for op in (*chain, divide, last)}.values():
            if operator is last:
                continue  # whose place is theirs
            del self.operators[operator.output]
        made[-1] = replace(made[-1], output=last.output)
        # In their old order: all stood before the rounding.
        later = list(self.operators.items())
        place = [output for output, _ in later].index(last.output)
        new = [(operator.output, operator) for operator in made]
        self.operators = dict([*later[:place], *new, *later[place + 1 :]])

    def _steps(self, operator: Operator) -> Array | None:
        """The positive numbers, one for each index of axis 1, that something is divided by."""
        numbers = self._numbers(operator)
        return numbers if numbers is not None and (numbers > 0).all() else None

    def _numbers(self, operator: Operator) -> Array | None:
        """The second input, if it is one stored number for each index of axis 1."""
        constant = self.constants.get(operator.inputs[1])
        shape = self.values[operator.output].shape
        if constant is None or operator.inputs[0] in self.constants or len(shape) < 3:
            return None
        wide = (1, shape[1], *[1] * (len(shape) - 2))
        if constant.data.shape != wide:
            return None
        return constant.data.reshape(-1)

    def _is_rounded(self, name: str) -> bool:
        return self.values[name].quantization is not None

    def _store(self, layer: Operator, what: str, constant: Constant) -> str:
        name = f"{layer.name}.{what}.stepped"
        while name in self.constants:  # it has steps before and behind it
            name += "_"
        self.constants[name] = constant
        return name

    def finish(self) -> Graph:
        operators: list[Operator] = []
        needed = set(self.graph.outputs)
        for operator in reversed(list(self.operators.values())):
            if operator.output in needed:
                operators.insert(0, operator)
                needed.update(operator.inputs)
        used = needed.union(self.graph.inputs)
        return replace(
            self.graph,
            operators=tuple(operators),
            values={name: value for name, value in self.values.items() if name in used},
            constants={name: c for name, c in self.constants.items() if name in used},
        )


def clip_of_counts(
    clamp: tuple[float, float] | None, steps: Array, zeros: Array, rounding: Quantization
) -> tuple[float, float] | None:
    """The bounds of counts for those of real numbers; None where channels have different ones.

    A bound that saturation is as hard as, in each channel, is infinite.
    """
    if clamp is None:
        return None
    bounds: list[float] = []
    for bound, limit, sign in zip(clamp, (LOWEST, HIGHEST), (-1, 1), strict=True):
        with np.errstate(invalid="ignore"):
            counts = np.asarray(bound, np.float64) / steps + zeros
        codes = [rounding.code(float(count)) for count in counts]
        if all(sign * code >= sign * limit for code in codes):
            bounds.append(sign * math.inf)
        elif (counts == counts[0]).all():
            bounds.append(float(counts[0]))
        else:
            return None
    return bounds[0], bounds[1]


def _clips(bounds: tuple[float, float] | None) -> bool:
    return bounds != (-math.inf, math.inf)


def _are_scales(scale: Array) -> bool:
    """Neither under- nor overflown."""
    return bool((np.isfinite(scale) & (scale > 0)).all())


def _adds_zeros(operator: Operator) -> bool:
    a = operator.attributes
    if operator.kind != "Pad" or any(a["before"][:2]) or any(a["after"][:2]):
        return False
    return a.get("mode", "constant") == "constant" and not a.get("value")
