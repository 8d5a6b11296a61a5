"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Cost(NamedTuple):
    """Parameters (without batch norm's statistics), and multiply-accumulates for one input."""

    parameters: int
    macs: int


def count(module: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """The cost of any module; ``input_shape`` is that of one input, without the batch.

    Multiply-accumulates of convolutions and linear layers are counted, as is usual; a layer that
    is called twice counts twice.
    """
    parameters = sum(p.numel() for p in module.parameters())
    return Cost(parameters, sum(layer_macs(module, input_shape).values()))


def layer_macs(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Name of each convolution and linear layer -> its multiply-accumulates for one input."""
    macs: dict[str, int] = {}

    def hook(name: str, layer: nn.Conv2d | nn.Linear) -> None:
        def add(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            per_output = layer.weight[0].numel()  # inputs that one output sums up
            macs[name] = macs.get(name, 0) + per_output * output[0].numel()

        hooks.append(layer.register_forward_hook(add))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            hook(name, layer)
    was_training = module.training
    try:
        module.eval()  # batch norm would refuse one value per channel, and count the batch
        with torch.no_grad():
            parameter = next(module.parameters())
            module(torch.zeros(1, *input_shape, dtype=parameter.dtype, device=parameter.device))
    finally:
        module.train(was_training)
        for handle in hooks:
            handle.remove()
    return macs
