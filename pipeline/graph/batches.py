"""Batches of networks with one input or several, and whatever structure their outputs have."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

Batch = Tensor | tuple[Tensor, ...]
"""What a network is called with: its only input, or all of them; the first axis is the batch."""

# What torch says where real numbers are taken for indices.
WANTS_INTEGERS = ("Long", "long, byte or bool", "indices")


def tensors_of(batch: Batch) -> tuple[Tensor, ...]:
    """One tensor for each input."""
    return (batch,) if isinstance(batch, Tensor) else tuple(batch)


def size_of(batch: Batch) -> int:
    """How many examples there are."""
    return len(tensors_of(batch)[0])


def first_of(batch: Batch, count: int) -> Batch:
    """The first ``count`` examples."""
    if isinstance(batch, Tensor):
        return batch[:count]
    return tuple(tensor[:count] for tensor in batch)


def takes_of(batch: Batch) -> tuple[tuple[int, ...], ...]:
    """The shape of each input without the batch."""
    return tuple(tuple(tensor.shape[1:]) for tensor in tensors_of(batch))


def split(batch: Batch, at_a_time: int) -> list[Batch]:
    """Smaller batches, in order."""
    if isinstance(batch, Tensor):
        return list(torch.split(batch, at_a_time))
    parts = (torch.split(tensor, at_a_time) for tensor in batch)
    return list(zip(*parts, strict=True))


def leaves_of(outputs: Any) -> tuple[Tensor, ...]:
    """The tensors in what a network returns (a tensor, or tuples, lists, dictionaries of some), in
    the order in which `torch.export` has them."""
    return tuple(leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, Tensor))


def shapes_of(takes: Any) -> tuple[tuple[int, ...], ...]:
    """One shape for each input, from those, or from the only one."""
    if all(isinstance(size, int) for size in takes):
        return (tuple(takes),)
    return tuple(tuple(shape) for shape in takes)


def zeros_for(
    module: nn.Module,
    takes: Any,
    *,
    batch: int = 1,
    run: Callable[..., object] | None = None,
) -> tuple[Tensor, ...]:
    """Zeros that ``module`` takes: real numbers, or whole ones where it says that it wants those.

    Args:
        run: what is called with them, to see; None is the module.

    Raises:
        Exception: whatever its forward raises on all of these.
    """
    run = run or module
    like = next(module.parameters(), torch.zeros(0))
    failure: Exception | None = None
    for types in dtypes(len(shapes_of(takes)), like.dtype):
        zeros = tuple(
            torch.zeros(batch, *shape, dtype=dtype, device=like.device)
            for shape, dtype in zip(shapes_of(takes), types, strict=True)
        )
        try:
            with torch.no_grad():
                run(*zeros)
        except Exception as error:
            failure = failure or error
            if not wants_integers(failure):
                break
        else:
            return zeros
    assert failure is not None
    raise failure


def dtypes(inputs: int, real: torch.dtype = torch.float32) -> Iterator[tuple[torch.dtype, ...]]:
    """What inputs may hold: real numbers, or else whole ones in some of them."""
    kinds = (real, torch.int64)
    return iter(itertools.product(kinds, repeat=inputs) if inputs < 4 else [kinds[:1] * inputs])


def wants_integers(error: Exception | None) -> bool:
    """Whether torch said that real numbers are taken for indices."""
    return any(sign in str(error) for sign in WANTS_INTEGERS)
