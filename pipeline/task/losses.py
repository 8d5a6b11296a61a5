"""Losses of values against values, which several tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.errors import InputError

Distance = Callable[[Tensor, Tensor], Tensor]
"""Two tensors of one shape -> their distance at each place."""


def charbonnier(a: Tensor, b: Tensor) -> Tensor:
    """The root of the squared difference and a little: L1 without its corner (Charbonnier et al.
    1994)."""
    return torch.sqrt((a - b) ** 2 + 1e-6)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """The absolute difference."""
    return (a - b).abs()


def mse(a: Tensor, b: Tensor) -> Tensor:
    """The squared difference."""
    return (a - b) ** 2


def huber(a: Tensor, b: Tensor) -> Tensor:
    """Half of the squared difference up to 1, from there on linear (Huber 1964)."""
    return F.huber_loss(a, b, reduction="none")


def in_shape_of(target: Tensor, output: Tensor, name: str) -> Tensor:
    """A target as the output has it, where axes of one differ alone.

    Raises:
        InputError: they are not alike.
    """
    sizes = [[n for n in tensor.shape[1:] if n > 1] for tensor in (target, output)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{name} has shape {list(target.shape[1:])} for a sample, the output "
            f"{list(output.shape[1:])}: they must be alike"
        )
    return target.reshape(output.shape).to(output.dtype)


DISTANCES: Mapping[str, Distance] = {
    "l1": l1,
    "mse": mse,
    "huber": huber,
    "charbonnier": charbonnier,
}
