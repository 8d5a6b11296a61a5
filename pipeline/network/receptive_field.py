"""How much of a sequence each output of a network depends on, found by asking it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Reach(NamedTuple):
    """In frames of the input."""

    stride: int  # from one output to the next
    context: int  # what an output sees at most before and behind its own place


def find_reach(module: nn.Module, input_shape: tuple[int, ...]) -> Reach | None:
    """The reach of a network over sequences [channels, frames] that keeps their order.

    All its weights become positive numbers, so that no path from input to output is cancelled, and
    an output's gradient shows what it sees. ``module`` is not to be used any more.

    Returns:
        None if an output in the middle sees an end, so that its reach is not known.
    """
    module.eval().double()
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():  # batch norm becomes x − 1 + 1, a convolution a mean
                tensor.fill_(1 / tensor[0].numel())
    inputs = torch.ones(1, *input_shape, dtype=torch.float64, requires_grad=True)
    outputs = module(inputs)
    frames, answers = input_shape[-1], outputs.shape[-1]
    stride = -(-frames // answers)
    place = answers // 2
    outputs[0, :, place].sum().backward()
    assert inputs.grad is not None
    seen = inputs.grad[0].abs().sum(0).nonzero().flatten()
    first, last = int(seen[0]), int(seen[-1])
    if first == 0 or last == frames - 1:
        return None
    return Reach(stride, max(place * stride - first, last - place * stride))
