"""Copies of modules that take no memory for their tensors."""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def shared_copy(module: Module) -> Module:
    """A copy whose parameters and buffers are those of ``module``; all else is its own.

    So it can be put into another mode, or be given other tensors, and ``module`` stays as it is.
    What changes a tensor in place changes both.
    """
    tensors = [*module.parameters(), *module.buffers()]
    memo = {id(tensor): tensor for tensor in tensors}
    return copy.deepcopy(module, memo | _computed_weights(module))


def vacant_copy(module: Module) -> Module:
    """A copy to load a state into: zeros for all that the state has; all else is copied."""
    state = module.state_dict(keep_vars=True).values()
    plain = {id(t): _zeros(t) for t in state if type(t) in (Tensor, nn.Parameter)}
    memo = {key: zeros for key, zeros in plain.items() if zeros is not None}
    return copy.deepcopy(module, memo | _computed_weights(module))


def _computed_weights(module: nn.Module) -> dict[int, Tensor]:
    """What ``deepcopy`` cannot copy: weights that hooks compute anew for each call."""
    attributes = (value for part in module.modules() for value in vars(part).values())
    return {
        id(value): value.detach().clone()
        for value in attributes
        if isinstance(value, Tensor) and not value.is_leaf
    }


def _zeros(tensor: Tensor) -> Tensor | None:
    """Zeros like ``tensor``, of memory that is taken when it is written; None: not of its type."""
    try:
        zeros = torch.from_numpy(np.zeros(tuple(tensor.shape), str(tensor.dtype).split(".")[1]))
    except TypeError:  # numpy has no bfloat16
        return None
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(zeros, requires_grad=tensor.requires_grad) if is_parameter else zeros
