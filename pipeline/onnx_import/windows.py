"""Windows of convolutions and pools: strides, dilations, and padding that PyTorch's layers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from edgeticket.pipeline.onnx_import.attributes import attributes
from edgeticket.pipeline.onnx_import.draft import Draft


@dataclass(frozen=True)
class Window:
    """For each axis of the image; ``source`` is what the layer reads, perhaps padded before."""

    strides: list[int]
    dilations: list[int]
    padding: list[int]  # on both sides alike
    source: str


def window_of(
    draft: Draft, node: onnx.NodeProto, kernel: Sequence[int], *, pads_alone: bool = True
) -> Window:
    """The window of ``node``; where one side is padded more, a step of its own pads with zeros.

    Raises:
        InputError: that would be wrong (``pads_alone`` is False: zeros are not the least number).
    """
    axes = len(kernel)
    given: dict[str, Any] = {"strides": [1] * axes, "dilations": [1] * axes}
    given |= {"pads": [0] * 2 * axes, "auto_pad": b"NOTSET"} | attributes(node)
    first, last = given["pads"][:axes], given["pads"][axes:]
    if given["auto_pad"] in (b"SAME_UPPER", b"SAME_LOWER"):
        first, last = [], []
        sizes = draft.shape(node.input[0])[2:]
        for size, side, stride, dilation in zip(
            sizes, kernel, given["strides"], given["dilations"], strict=True
        ):
            reach = (side - 1) * dilation + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            less, more = total // 2, total - total // 2
            first.append(less if given["auto_pad"] == b"SAME_UPPER" else more)
            last.append(total - first[-1])
    elif given["auto_pad"] == b"VALID":
        first = last = [0] * axes
    strides, dilations = list(given["strides"]), list(given["dilations"])
    if first == last:
        return Window(strides, dilations, list(first), node.input[0])
    if not pads_alone:
        raise draft.refuse(node, "pads one side more than the other: pad both alike")
    # PyTorch counts from the last axis.
    pads = [n for pair in zip(reversed(first), reversed(last), strict=True) for n in pair]
    padded = f"{node.output[0]} padded"
    draft.append(node, "pad", [node.input[0]], {"pad": pads}, output=padded)
    return Window(strides, dilations, [0] * axes, padded)
