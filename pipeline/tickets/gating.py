"""Weights times gates as one operation of autograd.

On a small network a training step is bound by memory, and what gates add to it is passes over
tensors as large as the weights. Autograd would make a dozen of them, half into fresh memory, which
costs three times as much as memory that was used before (page faults). Here they are four.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from edgeticket.pipeline.tickets.masked import flatten, unflatten

_threshold = torch.ops.aten.threshold_backward  # values where others are above a level, else 0
OPEN_ABOVE = 0.5  # a rounded gate is 1 above this


class Gates(Protocol):
    """What a training with gates needs of a network with gates."""

    sizes: list[int]
    rounded: bool

    def draw(self) -> Tensor:
        """The gates of this step, before they are clipped to 0..1 or rounded: [size]."""

    def straight_through(self, gradient: Tensor) -> None:
        """Turn the gradient to the gates into the one to the scores, in place: [size].

        What `draw` gave is not needed any more.
        """

    def memory(self, name: str) -> Tensor:
        """Memory [size] on the device of the scores, for each name the same in every step."""


def multiply(gates: Gates, scores: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Scores [size] and the weights of each layer -> the weights of each layer, gated.

    Gates are clip(draw, 0, 1), or that rounded; how the gradient gets through either is up to
    `Gates.straight_through`. What comes out is valid until the next call.
    """
    gated: tuple[Tensor, ...] = _Gating.apply(gates, scores, *weights)  # type: ignore[no-untyped-call]
    return gated


class _Gating(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Gates, scores: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.gates, ctx.scores, ctx.weights = gates, scores, weights
        ctx.drawn = drawn = gates.draw()
        sizes = gates.sizes
        gated = torch.split(gates.memory("gated weights"), sizes)
        for out, numbers, weight in zip(gated, torch.split(drawn, sizes), weights, strict=True):
            _multiply(flatten(weight), numbers, rounded=gates.rounded, out=out)
        return tuple(unflatten(o, w.shape) for o, w in zip(gated, weights, strict=True))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        gates: Gates = ctx.gates
        sizes = gates.sizes
        # Autograd keeps what it is given as the gradient, so memory is free if there is none yet.
        free = ctx.scores.grad is None
        gradient = gates.memory("gradient") if free else torch.empty_like(ctx.drawn)
        of_weights: list[Tensor | None] = []
        parts = zip(torch.split(gradient, sizes), torch.split(ctx.drawn, sizes), strict=True)
        for (out, numbers), slope, weight in zip(parts, slopes, ctx.weights, strict=True):
            torch.mul(flatten(slope), flatten(weight), out=out)
            if weight.requires_grad:
                of_weight = torch.empty_like(out)
                _multiply(flatten(slope), numbers, rounded=gates.rounded, out=of_weight)
                of_weights.append(unflatten(of_weight, weight.shape))
            else:
                of_weights.append(None)
        gates.straight_through(gradient)
        return None, gradient.detach(), *of_weights  # an alias, or autograd would copy it


def _multiply(values: Tensor, drawn: Tensor, *, rounded: bool, out: Tensor) -> None:
    """Values times gates, flat."""
    if rounded:
        _threshold.grad_input(values, drawn, OPEN_ABOVE, grad_input=out)
    else:
        torch.clamp(drawn, 0, 1, out=out).mul_(values)
