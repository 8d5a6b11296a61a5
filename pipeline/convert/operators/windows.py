"""Attributes of operators that slide a window over height and width."""

from __future__ import annotations

from typing import Any

import onnx

from device_runner.errors import InputError
from pipeline.convert.operators.reading import Draft, attributes


def spelled_window(draft: Draft, node: onnx.NodeProto, label: str) -> dict[str, Any]:
    """The attributes of ``node``, with strides and pads spelled out."""
    if len(draft.shape(node.input[0])) != 4:
        raise InputError(f"{label}: only [1, C, H, W] can be converted; use the 2-D operator")
    given = attributes(node)
    if given.pop("auto_pad", b"NOTSET") != b"NOTSET":
        raise InputError(f"{label} has auto_pad; export with explicit padding")
    return {"strides": [1, 1], "pads": [0, 0, 0, 0], **given}
