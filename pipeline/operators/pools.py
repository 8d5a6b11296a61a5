"""Maxima and averages over width, or over height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_clamp import activation, append_clamp
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.formats.tflite_padding import pad_input
from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import LOWEST, Array, Operator, Value
from edgeticket.pipeline.operators import passing
from edgeticket.pipeline.operators.kind import (
    Attributes,
    Kind,
    Reader,
    Role,
    Shape,
    Substitution,
)
from edgeticket.pipeline.operators.layers import constant_depthwise
from edgeticket.pipeline.operators.slices import cut
from edgeticket.pipeline.operators.windows import pooled_shape, spread, window, window_sizes

B = schema.BuiltinOperator

# --- reading


def max_pool_of(
    draft: Draft,
    source: str,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    *,
    ceil_mode: bool = False,
    auto_pad: str = "NOTSET",
) -> str:
    """MaxPool; windows that stick out see nothing there, so that is padding like any other."""
    found = _window(draft, source, kernel, stride, padding, dilation, ceil_mode, auto_pad)
    return draft.add("MaxPool", source, **found)


def average_pool_of(
    draft: Draft,
    source: str,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    auto_pad: str = "NOTSET",
) -> str:
    """AveragePool, or GlobalAveragePool where the window is the whole map."""
    given = _window(draft, source, kernel, stride, padding, 1, False, auto_pad)
    del given["dilations"]
    found = _window(draft, source, kernel, stride, padding, 1, ceil_mode, auto_pad)
    del found["dilations"]
    if found["pads"] != given["pads"]:
        # What sticks out is never counted, padding may be: only the former is there here.
        if any(given["pads"]) and count_include_pad:
            raise draft.refuse("rounds its size up (ceil_mode) and pads: pad before it")
        count_include_pad = False
    if not any(found["pads"]):
        count_include_pad = True  # there is nothing to count
        if tuple(found["kernel_shape"]) == draft.shape(source)[2:]:
            return global_average_of(draft, source)
    if count_include_pad:
        return draft.add("AveragePool", source, count_include_pad=1, **found)
    if _pads_as_same(found, draft.shape(source)[2:]):
        return draft.add("AveragePoolInside", source, count_include_pad=0, **found)
    counted = draft.add("AveragePool", source, suffix="counted", count_include_pad=1, **found)
    return draft.add("Mul", counted, draft.constant(_of_counted(found, draft.shape(source)[2:])))


def _pads_as_same(found: Attributes, sizes: Sequence[int]) -> bool:
    """Whether TFLite's SAME pads so."""
    for i, size in enumerate(sizes):
        kernel, stride = found["kernel_shape"][i], found["strides"][i]
        before, after = found["pads"][i], found["pads"][i + len(sizes)]
        whole = math.ceil(size / stride)
        total = max((whole - 1) * stride + kernel - size, 0)
        if before != total // 2 or (size + before + after - kernel) // stride + 1 != whole:
            return False
    return True


def _of_counted(found: Attributes, sizes: Sequence[int]) -> Array:
    """What a mean that counts padding is multiplied by, for one that does not, [1, 1, H, W]."""
    factors = np.ones(1, np.float32)
    for i, size in enumerate(sizes):
        kernel, stride = found["kernel_shape"][i], found["strides"][i]
        before, after = found["pads"][i], found["pads"][i + len(sizes)]
        starts = np.arange((size + before + after - kernel) // stride + 1) * stride - before
        inside = np.minimum(starts + kernel, size) - np.maximum(starts, 0)
        factors = np.multiply.outer(factors, (kernel / inside).astype(np.float32))
    return factors[None].astype(np.float32)


def global_average_of(draft: Draft, source: str, *, keepdims: bool = True) -> str:
    """The mean of each channel."""
    if draft.rank(source) == 4:
        return draft.add("GlobalAveragePool", source, keepdims=int(keepdims))
    axes = list(range(2, draft.rank(source)))
    return draft.add("ReduceMean", source, axes=axes, keepdims=int(keepdims))


def _window(
    draft: Draft,
    source: str,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    auto_pad: str,
) -> dict[str, Any]:
    axes = draft.rank(source) - 2
    kernel = spread(kernel, axes)
    found = window(
        draft,
        source,
        kernel_shape=kernel,
        strides=spread(stride, axes) if stride not in ((), [], None) else kernel,
        pads=padding,
        dilations=dilation,
        auto_pad=auto_pad,
    )
    if ceil_mode:
        sizes = draft.shape(source)[2:]
        outputs = window_sizes({**found, "ceil_mode": 1}, sizes)
        for i, size in enumerate(sizes):
            reach = (found["kernel_shape"][i] - 1) * found["dilations"][i] + 1
            end = (outputs[i] - 1) * found["strides"][i] + reach - size - found["pads"][i]
            found["pads"][i + axes] = max(end, found["pads"][i + axes])
    if any(n >= kernel[i % axes] for i, n in enumerate(found["pads"])):
        raise draft.refuse(
            f"pads by {found['pads']}, so that windows of {kernel} see nothing else: pad less"
        )
    return found


def adaptive(draft: Draft, source: str, sizes: Any, *, maximum: bool = False) -> str:
    """Adaptive pooling: one window where sizes divide, else a pool of each window's own.

    PyTorch's window i of n over a size s is from ⌊i·s/n⌋ to ⌈(i+1)·s/n⌉.
    """
    shape = draft.shape(source)[2:]
    wanted = [
        size if n is None else n
        for n, size in zip(spread_open(sizes, len(shape)), shape, strict=True)
    ]
    if all(size % n == 0 for size, n in zip(shape, wanted, strict=True)):
        kernel = [size // n for size, n in zip(shape, wanted, strict=True)]
        if set(kernel) == {1}:
            return source
        if maximum:
            return max_pool_of(draft, source, kernel)
        return average_pool_of(draft, source, kernel)
    for i, (size, n) in enumerate(zip(shape, wanted, strict=True)):
        axis = i + 2
        parts = []
        for k in range(n):
            first, last = k * size // n, -(-(k + 1) * size // n)
            part = cut(draft, source, axis, first, last, suffix=f"slice{i}_{k}")
            kind = "ReduceMax" if maximum else "ReduceMean"
            parts.append(draft.add(kind, part, suffix=f"window{i}_{k}", axes=[axis], keepdims=1))
        if n == 1:
            source = parts[0]
        else:
            last_axis = i == len(shape) - 1
            suffix = "" if last_axis else f"axis{i}"
            source = draft.add("Concat", *parts, suffix=suffix, axis=axis)
    return source


def spread_open(sizes: Any, axes: int) -> list[Any]:
    """One size for each axis; None leaves an axis as it is."""
    given = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    return given * axes if len(given) == 1 else given


def _aten_max_pool(
    draft: Draft,
    self: str,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> str:
    return max_pool_of(draft, self, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)


def _aten_average_pool(
    draft: Draft,
    self: str,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> str:
    if divisor_override is not None:
        raise draft.refuse("divides by a number of its own (divisor_override): leave that out")
    return average_pool_of(
        draft,
        self,
        kernel_size,
        stride,
        padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


def _onnx_max_pool(
    draft: Draft,
    x: str,
    *,
    kernel_shape: Any,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    ceil_mode: int = 0,
    auto_pad: str = "NOTSET",
    storage_order: int = 0,
) -> str:
    return max_pool_of(
        draft,
        x,
        kernel_shape,
        strides,
        pads,
        dilations,
        ceil_mode=bool(ceil_mode),
        auto_pad=auto_pad,
    )


def _onnx_average_pool(
    draft: Draft,
    x: str,
    *,
    kernel_shape: Any,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    auto_pad: str = "NOTSET",
) -> str:
    if set(spread(dilations, 1)) != {1}:
        raise draft.refuse("is dilated: that cannot be written")
    return average_pool_of(
        draft,
        x,
        kernel_shape,
        strides,
        pads,
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
        auto_pad=auto_pad,
    )


def _onnx_global_max(draft: Draft, x: str) -> str:
    axes = list(range(2, draft.rank(x)))
    return draft.add("ReduceMax", x, axes=axes, keepdims=1)


# --- meaning


def _max_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    axes = x.ndim - 2
    pads, kernel = attributes["pads"], attributes["kernel_shape"]
    function = (torch.max_pool1d, torch.max_pool2d)[axes - 1]
    before, after = pads[:axes], pads[axes:]
    dilations = attributes["dilations"]
    if before == after and all(2 * n <= k for n, k in zip(before, kernel, strict=True)):
        return function(x, kernel, attributes["strides"], before, dilations)
    amounts = [n for i in reversed(range(axes)) for n in (before[i], after[i])]
    wide = torch.nn.functional.pad(x, amounts, value=-torch.inf)
    return function(wide, kernel, attributes["strides"], 0, dilations)


def _average_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    axes = x.ndim - 2
    pads, counts = attributes["pads"], bool(attributes["count_include_pad"])
    functions = (torch.nn.functional.avg_pool1d, torch.nn.functional.avg_pool2d)
    function, kernel, strides = (
        functions[axes - 1],
        attributes["kernel_shape"],
        attributes["strides"],
    )
    before, after = pads[:axes], pads[axes:]
    if before == after and all(2 * n <= k for n, k in zip(before, kernel, strict=True)):
        return function(x, kernel, strides, before, False, counts)
    amounts = [n for i in reversed(range(axes)) for n in (before[i], after[i])]
    wide = torch.nn.functional.pad(x, amounts)
    pooled = function(wide, kernel, strides)
    if counts:
        return pooled
    share = function(torch.nn.functional.pad(torch.ones_like(x[:1, :1]), amounts), kernel, strides)
    return pooled / share


def _global_shape(attributes: Attributes, shape: Shape) -> Shape:
    return (*shape[:2], *[1] * (len(shape) - 2)) if attributes.get("keepdims", 1) else shape[:2]


def _global_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    if attributes.get("keepdims", 1):
        return torch.nn.functional.adaptive_avg_pool2d(x, 1)
    return torch.mean(x, (2, 3))


# --- writing


def global_average(draft: TfliteDraft, operator: Operator) -> None:
    """MEAN over height and width; a clamp is an operator of its own behind it."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    mean = output
    if operator.clamp is not None:
        mean = draft.like(output, f"{operator.name}.mean", draft.shape(output))
    options = schema.ReducerOptionsT()
    options.keepDims = len(draft.shape(output)) == 4
    axes = draft.constant(f"{operator.name}.axes", np.array([1, 2], np.int32))
    version = draft.version(operator, int8=2)
    draft.append(B.MEAN, [source, axes], mean, options, version=version)
    if operator.clamp is not None:
        append_clamp(draft, operator, mean, output)


def write_average(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """AveragePool."""
    draft.node("AveragePool", inputs, output, operator.attributes)


def write_global_average(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """GlobalAveragePool, and Flatten where the mean loses the axes."""
    if len(draft.graph.values[operator.output].shape) == 2:
        draft.node("Flatten", [draft.node("GlobalAveragePool", inputs, f"{output}.map")], output)
    else:
        draft.node("GlobalAveragePool", inputs, output)


def average_pool(draft: TfliteDraft, operator: Operator) -> None:
    """AVERAGE_POOL_2D, which never counts padding."""
    counted = operator.attributes["count_include_pad"]
    _pool(draft, operator, B.AVERAGE_POOL_2D, fill="zero" if counted else "none")


def _counts_all(operator: Operator, values: Sequence[Value]) -> bool:
    """Whether all windows have equal weights."""
    return bool(operator.attributes["count_include_pad"])


def _as_convolution(operator: Operator, source: Value, output: Value) -> Substitution:
    """a depthwise convolution with equal weights.

    TFLite's own integer average rounds unlike ONNX Runtime's (an eighth of 2×2 averages differ
    by one code) and cannot change the scale.
    """
    window = {n: operator.attributes[n] for n in ("kernel_shape", "strides", "pads")}
    weight = 1 / float(np.prod(window["kernel_shape"]))
    return constant_depthwise(operator, source, output, weight=weight, **window)


def write_max_pool(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """MaxPool; behind a Pad, a Clip to all numbers that there are comes first.

    ONNX Runtime makes zeros that a Pad puts around a map the pool's own padding, which no maximum
    sees: where all else is negative, the zeros were the maxima (its PadFusion). A Clip is in the
    way.
    """
    source = inputs[0]
    pads = [op for op in draft.graph.operators if op.kind in ("Pad", "PadNumber")]
    if any(op.output == operator.inputs[0] for op in pads):
        lowest = draft.tensor("lowest", np.asarray(np.finfo(np.float32).min))
        if draft.graph.values[operator.inputs[0]].quantization is not None:
            lowest = draft.code(LOWEST)
        source = draft.node("Clip", [source, lowest], f"{output}.guarded")
    draft.node("MaxPool", [source], output, operator.attributes)


def max_pool(draft: TfliteDraft, operator: Operator) -> None:
    """MAX_POOL_2D."""
    if set(operator.attributes["dilations"]) - {1}:
        raise InputError(f"{operator}: dilated pooling; use dilation 1")
    _pool(draft, operator, B.MAX_POOL_2D, fill="lowest")


def _pool(draft: TfliteDraft, operator: Operator, code: int, *, fill: str) -> None:
    kernel = operator.attributes["kernel_shape"]
    padding, source = pad_input(draft, operator, kernel, fill=fill)
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.filterHeight, options.filterWidth = kernel
    options.strideH, options.strideW = operator.attributes["strides"]
    options.fusedActivationFunction = activation(operator)
    output = draft.value(operator.output)
    draft.append(code, [source], output, options, version=draft.version(operator, int8=2))


ATEN: dict[str, Reader] = {
    "adaptive_avg_pool1d": lambda draft, self, output_size: adaptive(draft, self, output_size),
    "adaptive_avg_pool2d": lambda draft, self, output_size: adaptive(draft, self, output_size),
    "adaptive_max_pool1d": lambda draft, self, output_size: [
        adaptive(draft, self, output_size, maximum=True)
    ],
    "adaptive_max_pool2d": lambda draft, self, output_size: [
        adaptive(draft, self, output_size, maximum=True)
    ],
    "avg_pool1d": _aten_average_pool,
    "avg_pool2d": _aten_average_pool,
    "max_pool1d": _aten_max_pool,
    "max_pool2d": _aten_max_pool,
    "max_pool2d_with_indices": lambda draft, self, *a, **k: [_aten_max_pool(draft, self, *a, **k)],
}
ONNX: dict[str, Reader] = {
    "AveragePool": _onnx_average_pool,
    "GlobalAveragePool": global_average_of,
    "GlobalMaxPool": _onnx_global_max,
    "MaxPool": _onnx_max_pool,
}
KINDS: dict[str, Kind] = {
    "AveragePool": Kind(
        average_pool,
        _average_meaning,
        pooled_shape,
        Role.OWN,
        clips=True,
        rounded=_as_convolution,
        channels=passing.windowed,
        integral=_counts_all,
        conditions="adaptive ones too; padding that is not counted: times a stored map",
    ),
    "AveragePoolInside": Kind(
        average_pool,
        _average_meaning,
        pooled_shape,
        onnx=write_average,
        clips=True,
        channels=passing.windowed,
        conditions="an AveragePool whose padding is not counted, and is as TFLite's SAME",
    ),
    "GlobalAveragePool": Kind(
        global_average,
        _global_meaning,
        _global_shape,
        Role.OWN,
        write_global_average,
        clips=True,
        channels=passing.windowed,
        conditions="ReduceMean over height and width likewise",
    ),
    "MaxPool": Kind(
        max_pool,
        _max_meaning,
        pooled_shape,
        Role.SAME,
        write_max_pool,
        clips=True,
        channels=passing.windowed,
        conditions="any padding and ceil_mode; no dilation",
    ),
}
