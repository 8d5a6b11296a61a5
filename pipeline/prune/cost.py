"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
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
    parameters = sum(p.numel() for p in module.parameters())
    counter = _count_products(module, takes)
    return Cost(parameters, counter.get_total_flops() // 2)


def layer_macs(module: nn.Module, takes: Takes) -> dict[str, int]:
    """Name of each convolution and linear layer -> its multiply-accumulates for one input.

    Transposed convolutions are among them.
    """
    macs: dict[str, int] = {}

    def hook(name: str, layer: Multiplying) -> None:
        def add(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # What one output sums up, or what one input of a transposed layer is spread to.
            per_number = layer.weight[0].numel()
            numbers = inputs[0] if isinstance(layer, Transposed) else output
            macs[name] = macs.get(name, 0) + per_number * numbers[0].numel()

        hooks.append(layer.register_forward_hook(add))

    hooks: list[torch.utils.hooks.RemovableHandle] = []

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        for name, layer in module.named_modules():
            if isinstance(layer, Multiplying):
                hook(name, layer)
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    _run_once(module, takes, watched())
    return macs


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


def _count_products(module: nn.Module, takes: Takes) -> FlopCounterMode:
    """Run once, with every fused kernel spelled out: what is fused is not counted.

    That is attention and the layers of transformers. LSTMs stay in the one piece that oneDNN has.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False, custom_mapping=FUSED)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            _run_once(module, takes, counter)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter


def _run_once(
    module: nn.Module, takes: Takes, within: contextlib.AbstractContextManager[Any] | None = None
) -> None:
    was_training = module.training
    try:
        module.eval()  # batch norm would refuse one value per channel, and count the batch
        zeros = zeros_for(module, takes)
        with torch.no_grad(), within or contextlib.nullcontext():
            module(*zeros)
    finally:
        module.train(was_training)
