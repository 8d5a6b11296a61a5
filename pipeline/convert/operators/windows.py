"""Attributes of operators that slide a window over height and width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.operators.reading import Draft, attributes

LARGEST = 2**15
LIMITS = (("kernel_shape", 1, 1), ("strides", 1, 1), ("dilations", 1, 1), ("pads", 0, 2))


def spelled_window(draft: Draft, node: onnx.NodeProto, label: str) -> dict[str, Any]:
    """The attributes of ``node``, with strides and pads spelled out."""
    axes = len(draft.shape(node.input[0])) - 2
    if axes not in (1, 2):
        raise InputError(f"{label}: only [1, C, H, W] and [1, C, W] can be converted")
    given = attributes(node)
    if given.pop("auto_pad", b"NOTSET") != b"NOTSET":
        raise InputError(f"{label} has auto_pad; export with explicit padding")
    window = {"strides": [1] * axes, "pads": [0] * 2 * axes, **given}
    for name, least, count in LIMITS:
        if name in window:
            numbers = window[name]
            if len(numbers) != count * axes or not all(least <= n <= LARGEST for n in numbers):
                raise InputError(
                    f"{label} has {name} {list(numbers)}; they must be {count * axes} numbers "
                    f"from {least} to {LARGEST}"
                )
    return window


def ends(draft: Draft, node: onnx.NodeProto, window: Mapping[str, Any]) -> list[int]:
    """How far the last window of an undilated pool reaches beyond height and width."""
    sizes, outputs = draft.shape(node.input[0])[2:], draft.shapes[node.output[0]][2:]
    return [
        (outputs[axis] - 1) * window["strides"][axis]
        + window["kernel_shape"][axis]
        - sizes[axis]
        - window["pads"][axis]
        for axis in range(len(sizes))
    ]
