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
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def vacant_copy(module: Module) -> Module:
    """A copy to load a state into: zeros for all that the state has; all else is copied."""
    state = module.state_dict(keep_vars=True).values()
    plain = {id(t): _zeros(t) for t in state if type(t) in (Tensor, nn.Parameter)}
    return copy.deepcopy(module, {key: zeros for key, zeros in plain.items() if zeros is not None})


def _zeros(tensor: Tensor) -> Tensor | None:
    """Zeros like ``tensor``, of memory that is taken when it is written; None: not of its type."""
    try:
        zeros = torch.from_numpy(np.zeros(tuple(tensor.shape), str(tensor.dtype).split(".")[1]))
    except TypeError:  # numpy has no bfloat16
        return None
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(zeros, requires_grad=tensor.requires_grad) if is_parameter else zeros
