"""Control of a cost during training: the term of the loss that brings it to a moving target."""

from __future__ import annotations

import torch
from torch import Tensor


def augmented_lagrangian(
    price: Tensor, excess: Tensor, *, stiffness: float, price_step: float
) -> Tensor:
    """The augmented Lagrangian of ``excess`` ≤ 0 (Nocedal and Wright, "Numerical Optimization",
    17.4).

    Args:
        price: the Lagrange multiplier, one number, at least 0; every call moves it in place.
        excess: how far the cost is above its target; negative below.
        stiffness: weight of the square.
        price_step: how fast the price moves. The textbook raises it by stiffness × excess after
            each whole minimisation; here that comes after every step, and as much would overshoot.
    """
    before = price.clone()
    price.copy_(torch.relu(before + price_step * excess.detach()))
    return (torch.relu(before + stiffness * excess) ** 2 - before**2) / (2 * stiffness)
