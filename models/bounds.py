"""Limits on a network that is being built, where nobody vouches for its arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as registration

MODULES = 100_000  # more than any network has; building as many takes seconds


class TooLargeError(ValueError):
    """A network has more numbers, tensors or parts than was allowed."""


@contextlib.contextmanager
def bounded(*, numbers: int, tensors: int) -> Iterator[None]:
    """Whoever builds a larger network inside is stopped by `TooLargeError`.

    Every tensor is looked at when a module takes it, before it is filled: PyTorch reserves memory,
    but nothing has been written to it.

    Args:
        numbers: in all parameters and buffers.
        tensors: how many of them.
    """
    left = {"numbers": numbers, "tensors": tensors, "parts": MODULES}

    def spend(kind: str, count: int, limit: int) -> None:
        left[kind] -= count
        if left[kind] < 0:
            raise TooLargeError(f"it has more than {limit:,} {kind}")

    def take(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is not None:
            spend("tensors", 1, tensors)
            spend("numbers", tensor.numel(), numbers)

    def join(module: nn.Module, name: str, part: Any) -> None:
        spend("parts", 1, MODULES)

    hooks = (
        registration.register_module_parameter_registration_hook(take),
        registration.register_module_buffer_registration_hook(take),
        registration.register_module_module_registration_hook(join),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
