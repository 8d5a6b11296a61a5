"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeticket.models.network import Takes
from edgeticket.pipeline.graph.batches import zeros_for


def _count_recurrent(
    steps: tuple[int, ...], inner: tuple[int, ...], recurrent: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """Shapes [time, batch, ...] and of both matrices -> operations, two a multiply-accumulate."""
    return 2 * math.prod(steps[:2]) * (math.prod(inner) + math.prod(recurrent))


FUSED = {torch.ops.aten.mkldnn_rnn_layer: _count_recurrent}
BATCHED = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)  # a linear layer is none of these


Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d
Multiplying = nn.Conv1d | nn.Conv2d | nn.Linear | Transposed


class Cost(NamedTuple):
    """Parameters (without batch norm's statistics), and multiply-accumulates for one input."""

    parameters: int
    macs: int


def count(module: nn.Module, takes: Takes) -> Cost:
    """The cost of any module; ``takes`` is the shape of its input, or of each, without the batch.

    Multiply-accumulates of convolutions, linear layers and products of matrices (attention) are
    counted, as is usual; a layer that is called twice counts twice.
    """
    return count_by_layer(module, takes)[0]


def layer_macs(module: nn.Module, takes: Takes) -> dict[str, int]:
    """Name of each convolution and linear layer -> its multiply-accumulates for one input.

    Transposed convolutions are among them.
    """
    return count_by_layer(module, takes)[1]


def count_by_layer(module: nn.Module, takes: Takes) -> tuple[Cost, dict[str, int]]:
    """What `count` and `layer_macs` give, from one run of the module."""
    by_layer: dict[str, int] = {}

    def add(name: str, layer: Multiplying, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # What one output sums up, or what one input of a transposed layer is spread to.
        per_number = layer.weight[0].numel()
        numbers = inputs[0] if isinstance(layer, Transposed) else output
        by_layer[name] = by_layer.get(name, 0) + per_number * numbers[0].numel()

    hooks = [
        layer.register_forward_hook(functools.partial(add, name))
        for name, layer in module.named_modules()
        if isinstance(layer, Multiplying)
    ]
    try:
        counter = _count_products(module, takes, started=by_layer.clear)
    finally:
        for hook in hooks:
            hook.remove()
    parameters = sum(p.numel() for p in module.parameters())
    return Cost(parameters, counter.get_total_flops() // 2), by_layer


def product_macs(module: nn.Module, takes: Takes) -> dict[str, int]:
    """Name of each module -> multiply-accumulates, for one input, of the products of two computed
    matrices in it and in none of its children, as in attention; modules without are left out."""
    counter = _count_products(module, takes)
    counts = counter.get_flop_counts()
    root = type(module).__name__

    def within(name: str) -> int:
        found = counts.get(f"{root}.{name}" if name else root, {})
        return sum(int(flops) // 2 for operator, flops in found.items() if operator in BATCHED)

    products = {}
    for name, layer in module.named_modules():
        prefix = f"{name}." if name else ""
        own = within(name) - sum(within(f"{prefix}{child}") for child, _ in layer.named_children())
        if own:
            products[name] = own
    return products


def _count_products(
    module: nn.Module, takes: Takes, *, started: Callable[[], None] | None = None
) -> FlopCounterMode:
    """Run once, with every fused kernel spelled out: what is fused is not counted.

    That is attention and the layers of transformers. LSTMs stay in the one piece that oneDNN has.

    Args:
        started: is called before each run: a module that wants whole numbers stops in the first.
    """
    counter = FlopCounterMode(display=False, custom_mapping=FUSED)

    def run(*zeros: Tensor) -> None:
        if started is not None:
            started()
        with counter:  # which counts from 0
            module(*zeros)

    was_training = module.training
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        module.eval()  # batch norm would refuse one value per channel, and count the batch
        with sdpa_kernel(SDPBackend.MATH):
            zeros_for(module, takes, run=run)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        module.train(was_training)
    return counter
