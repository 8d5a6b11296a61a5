"""Attributes of operators that slide a window over width, or over height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.operators.kind import Attributes, Shape

LARGEST = 2**15


def window(
    draft: Draft,
    source: str,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | int = 1,
    pads: Sequence[int] | int = 0,
    dilations: Sequence[int] | int = 1,
    auto_pad: str = "NOTSET",
) -> dict[str, Any]:
    """The attributes of a window over ``source``, spelled out as ONNX has them.

    Args:
        pads: for each axis the beginnings, then for each the ends; or one number for each axis.
        auto_pad: SAME_UPPER, SAME_LOWER or VALID instead of ``pads`` (ONNX).

    Raises:
        InputError: sizes that no runtime takes.
    """
    axes = draft.rank(source) - 2
    if axes not in (1, 2):
        raise draft.refuse(
            f"reads [{', '.join(map(str, draft.shape(source)))}]: only [1, C, H, W] and [1, C, W] "
            "can be converted"
        )
    strides, dilations = spread(strides, axes), spread(dilations, axes)
    before = spread(pads, axes)
    found = {
        "dilations": dilations,
        "kernel_shape": list(kernel_shape),
        "pads": before if len(before) == 2 * axes else [*before, *before],
        "strides": strides,
    }
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise draft.refuse(f"pads by {auto_pad!r}, which ONNX does not have")
    if auto_pad == "VALID":
        found["pads"] = [0] * 2 * axes
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        found["pads"] = _same(draft.shape(source)[2:], found, lower=auto_pad == "SAME_LOWER")
    for name, least, count in LIMITS:
        numbers = found[name]
        if len(numbers) != count * axes or not all(least <= n <= LARGEST for n in numbers):
            raise draft.refuse(
                f"has {name} {list(numbers)}; they must be {count * axes} numbers from {least} to "
                f"{LARGEST}"
            )
    return found


LIMITS = (("kernel_shape", 1, 1), ("strides", 1, 1), ("dilations", 1, 1), ("pads", 0, 2))


def spread(numbers: Sequence[int] | int, axes: int) -> list[int]:
    """One number for each axis, where one was given for all."""
    given = [numbers] if isinstance(numbers, int) else list(numbers)
    return [int(n) for n in (given * axes if len(given) == 1 else given)]


def _same(sizes: Sequence[int], found: Attributes, *, lower: bool) -> list[int]:
    """Padding that makes ⌈size / stride⌉ outputs, the odd one at the end, or at the beginning."""
    before, after = [], []
    for i, size in enumerate(sizes):
        stride = found["strides"][i]
        reach = (found["kernel_shape"][i] - 1) * found["dilations"][i] + 1
        total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        before.append(large if lower else small)
        after.append(small if lower else large)
    return [*before, *after]


def window_sizes(attributes: Attributes, sizes: Sequence[int]) -> list[int]:
    """Sizes of the output of a window over ``sizes``; ONNX's formula, with ceil_mode."""
    axes = len(sizes)
    outputs = []
    for i, size in enumerate(sizes):
        pads = attributes["pads"]
        stride = attributes["strides"][i]
        reach = (attributes["kernel_shape"][i] - 1) * attributes.get("dilations", [1] * axes)[i] + 1
        free = size + pads[i] + pads[i + axes] - reach
        if free < 0:
            raise ValueError(f"a window of {reach} is larger than {size} with its padding")
        count = free // stride + 1
        if attributes.get("ceil_mode") and free % stride:
            # A window that would begin in the padding behind the end is left out (PyTorch).
            count += count * stride < size + pads[i]
        outputs.append(count)
    return outputs


def pooled_shape(attributes: Attributes, shape: Shape) -> Shape:
    """[N, C, ...] -> [N, C, ...], fewer positions."""
    return (*shape[:2], *window_sizes(attributes, shape[2:]))
