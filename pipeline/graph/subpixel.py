"""A transposed convolution as a convolution and DepthToSpace; no runtime's integer kernels differ.

Output position o of a transposed convolution with stride s sees kernel positions of one remainder
of o by s alone. So there is a kernel for each remainder, all of one size, whose outputs are
channels at first, and then interleaved (Shi et al., "Is the deconvolution layer the same as a
convolutional layer?", 2016).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeticket.pipeline.graph.graph import Arranged, Array, Constant, Operator, Value


def as_convolution(
    operator: Operator, values: Mapping[str, Value], constants: Mapping[str, Constant]
) -> tuple[list[Operator], list[Value], dict[str, Constant], dict[str, Arranged]]:
    """Operators that stand for a ConvTranspose, with the values and constants that are new.

    The last is the convolution's output, and how its weight is made of the stored one. Where the
    output is rounded, so is all that comes behind the convolution, which only moves numbers.
    """
    a = operator.attributes
    source, result = values[operator.inputs[0]], values[operator.output]
    stored_weight = constants[operator.inputs[1]]
    weight, *bias = (constants[name].data for name in operator.inputs[1:])
    axes = len(a["strides"])
    kernels, before, after = _kernels(weight, a)
    for i, stride in enumerate(a["strides"]):  # output_padding may ask for more positions
        after[i] += max(-(-result.shape[i + 2] // stride) - source.shape[i + 2], 0)
    outputs = result.shape[1]
    strides = a["strides"]
    phases = math.prod(strides)
    name = operator.name
    steps: list[Operator] = []
    new: list[Value] = []
    scale = stored_weight.scale
    if scale is not None:
        scale = np.tile(scale, phases)
    stored = {f"{name}.folded.weight": Constant(kernels, scale, stored_weight.unfit)}
    if bias:
        stored[f"{name}.folded.bias"] = Constant(np.tile(bias[0], phases))
    # The convolution over the padded map gives ⌈…⌉ positions; what is too much is sliced off.
    shape = source.shape
    sizes = [shape[i + 2] + before[i] + after[i] - (kernels.shape[i + 2] - 1) for i in range(axes)]
    tail = phases > 1 or tuple(sizes) != result.shape[2:]
    inner = operator.inputs[0]
    if any(before) or any(after):
        padded = Value(
            f"{name}_pad",
            (*shape[:2], *(n + b + e for n, b, e in zip(shape[2:], before, after, strict=True))),
        )
        if before != after:
            steps.append(
                Operator(
                    padded.name,
                    "Pad",
                    (inner,),
                    padded.name,
                    {
                        "before": [0, 0, *before],
                        "after": [0, 0, *after],
                        "mode": "constant",
                        "value": 0.0,
                    },
                )
            )
            new.append(padded)
            inner = padded.name
            pads = [0] * 2 * axes
        else:
            pads = [*before, *after]
    else:
        pads = [0] * 2 * axes
    last = operator.output if not tail else f"{name}_phases"
    if tail:
        new.append(Value(last, (shape[0], outputs * phases, *sizes), result.quantization))
    steps.append(
        Operator(
            name if not tail else last,
            "Conv",
            (inner, *stored),
            last,
            {
                "dilations": [1] * axes,
                "group": 1,
                "kernel_shape": list(kernels.shape[2:]),
                "pads": pads,
                "strides": [1] * axes,
            },
            operator.clamp,
            operator.origin,
        )
    )
    if tail:
        steps += _interleave(operator, last, sizes, strides, outputs, result, new)
    return steps, new, stored, {last: _arranged(weight, a, phases)}


def _arranged(weight: Array, a: Mapping[str, Any], phases: int) -> Arranged:
    numbers = np.arange(1, weight.size + 1).reshape(weight.shape)
    return Arranged(_kernels(numbers, a)[0] - 1, weight.shape, a["group"], phases)


def _kernels(weight: Array, a: Mapping[str, Any]) -> tuple[Array, list[int], list[int]]:
    """[inputs, outputs / group, ...] -> [phases · outputs, inputs / group', ...], and the padding.

    Phase p of a stride s holds kernel positions k with (k·dilation − pad) ≡ p; they are read at
    input position i = (o + pad − k·dilation) / s.
    """
    groups = a["group"]
    inputs, per_group = weight.shape[:2]
    dense = _dense(weight, groups) if groups > 1 else weight
    outputs = per_group * groups
    axes = weight.ndim - 2
    ranges = []  # for each axis: for each phase, offset -> kernel position
    for i in range(axes):
        stride, pad, dilation = a["strides"][i], a["pads"][i], a["dilations"][i]
        by_phase: list[dict[int, int]] = [{} for _ in range(stride)]
        for k in range(weight.shape[i + 2]):
            phase = (k * dilation - pad) % stride
            # Output o = s·q + phase reads input q − (k·dilation − pad − phase) / s.
            by_phase[phase][-((k * dilation - pad - phase) // stride)] = k
        ranges.append(by_phase)
    before, after, sizes = [], [], []
    for by_phase in ranges:
        offsets = [offset for phase in by_phase for offset in phase]
        low, high = min(0, *offsets), max(0, *offsets)
        before.append(-low)
        after.append(high)
        sizes.append(high - low + 1)
    strides = a["strides"]
    kernels = np.zeros((*strides, outputs, inputs, *sizes), weight.dtype)
    for phase in np.ndindex(*strides):
        for places in _products([list(ranges[i][phase[i]].items()) for i in range(axes)]):
            at = tuple(offset + before[i] for i, (offset, _) in enumerate(places))
            taken = tuple(k for _, k in places)
            here: tuple[Any, ...] = (*phase, slice(None), slice(None), *at)
            there: tuple[Any, ...] = (slice(None), slice(None), *taken)
            kernels[here] = dense[there].T
    return kernels.reshape(math.prod(strides) * outputs, inputs, *sizes), before, after


def _dense(weight: Array, groups: int) -> Array:
    """Grouped [inputs, outputs / group, ...] -> [inputs, outputs, ...], zeros between groups."""
    inputs, per_group = weight.shape[:2]
    wide = np.zeros((inputs, per_group * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        rows = slice(g * (inputs // groups), (g + 1) * (inputs // groups))
        wide[rows, g * per_group : (g + 1) * per_group] = weight[rows]
    return wide


def _products(parts: list[list[tuple[int, int]]]) -> list[tuple[tuple[int, int], ...]]:
    found: list[tuple[tuple[int, int], ...]] = [()]
    for part in parts:
        found = [(*before, item) for before in found for item in part]
    return found


def _interleave(
    operator: Operator,
    source: str,
    sizes: Sequence[int],
    strides: Sequence[int],
    outputs: int,
    result: Value,
    new: list[Value],
) -> list[Operator]:
    """[N, phases · C, ...] -> [N, C, ... · stride], and what is too much cut off."""
    name = operator.name
    batch = result.shape[0]
    wide = (batch, outputs, *(n * s for n, s in zip(sizes, strides, strict=True)))
    cut = wide != result.shape
    target = f"{name}_wide" if cut else operator.output
    steps: list[Operator] = []

    def value(label: str, shape: tuple[int, ...]) -> str:
        new.append(Value(f"{name}_{label}", shape, result.quantization))
        return f"{name}_{label}"

    if cut:
        new.append(Value(target, wide, result.quantization))
    step_name = target if cut else name
    if set(strides) == {1}:
        target = source
    elif len(strides) == 2 and strides[0] == strides[1]:
        attributes: dict[str, Any] = {"blocksize": strides[0], "mode": "DCR"}
        steps.append(Operator(step_name, "DepthToSpace", (source,), target, attributes))
    else:
        axes = len(strides)
        parts = (batch, *strides, outputs, *sizes)
        # [N, s..., C, size...] -> [N, C, size0, s0, size1, s1]
        order = [0, axes + 1]
        for i in range(axes):
            order += [axes + 2 + i, 1 + i]
        turned = tuple(parts[axis] for axis in order)
        split = value("split", parts)
        moved = value("turned", turned)
        steps += [
            Operator(split, "Reshape", (source,), split, _shape(parts)),
            Operator(moved, "Transpose", (split,), moved, {"perm": order}),
            Operator(step_name, "Reshape", (moved,), target, _shape(wide)),
        ]
    if cut:
        rank = len(wide)
        attributes = {
            "begin": [0] * rank,
            "size": list(result.shape),
            "steps": [1] * rank,
            "axes": list(range(2, rank)),
        }
        steps.append(Operator(name, "Slice", (target,), operator.output, attributes))
    return steps


def _shape(shape: Sequence[int]) -> dict[str, Any]:
    return {"shape": list(shape), "free": [-1, *shape[1:]]}
