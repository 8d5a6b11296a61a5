"""The attributes of an ONNX node."""

from __future__ import annotations

from typing import Any

import onnx


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """By name, texts as bytes."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
