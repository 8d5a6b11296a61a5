"""What passes find to work on in a network, in a few words; an error says why there is nothing.

Weights do not matter for that. A pass is also asked without its configuration, for `inspect`.
"""

from __future__ import annotations

import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.quantize import fold_bn
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.recipe import PassConfig
from edgeticket.pipeline.tickets.prunable import prunable

EXAMPLES = 4  # random inputs


def example_inputs(network: Network) -> torch.Tensor:
    """Random inputs, as networks take them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(EXAMPLES, *network.input_shape, generator=generator)


def channels_that_can_go(network: Network, cfg: PassConfig | None) -> str:
    """Half of the channels of every group are removed for a try."""
    groups = _groups(network)
    if not groups:
        raise InputError(f"{network.arch} has no channels that can be removed")
    if not _is_same_without(network, groups):
        raise InputError(
            f"{network.arch} is not the same function without channels that are zero: it counts "
            "them somewhere in its forward; use sizes of tensors there, or no pass that removes "
            "channels"
        )
    return f"{sum(g.width for g in groups):,} channels in {len(groups)} groups can go"


def _groups(network: Network) -> tuple[ChannelGroup, ...]:
    try:
        return find_groups(network.module(), network.input_shape)
    except InputError:
        raise
    except Exception as error:  # whatever torch-pruning meets in a network that it cannot follow
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"torch-pruning cannot follow {network.arch} ({type(error).__name__}: {reason}); use a "
            "pass that prunes single weights, or none"
        ) from None


def _is_same_without(network: Network, groups: tuple[ChannelGroup, ...]) -> bool:
    """Whether it makes no difference if zeroed channels are there."""
    half = [torch.arange(group.width) % 2 == 0 for group in groups]
    mask = channel_mask(network.module(), groups, half)
    narrow = shrink(network, mask)
    inputs = example_inputs(network)
    try:
        with torch.no_grad():
            outputs, masked = narrow.module()(inputs), mask.apply(network).module()(inputs)
        return torch.allclose(outputs, masked, rtol=1e-3, atol=1e-4)
    except (RuntimeError, ValueError, IndexError):
        return False


def blocks_that_can_go(network: Network, cfg: PassConfig | None) -> str:
    """Residual blocks say by an attribute that they can go."""
    blocks = models.removable_blocks(network.module())
    if not blocks:
        raise InputError(
            f"{network.arch} has no residual blocks that can be removed: a block says so by an "
            "attribute `removable`"
        )
    return f"{len(blocks)} residual blocks can go"


def weights_that_can_go(network: Network, cfg: PassConfig | None) -> str:
    """Single weights of convolutions and linear layers."""
    weights = prunable(network.module())
    return f"{sum(w.numel() for w in weights.values()):,} weights of {len(weights)} layers can go"


def weights_to_train(network: Network, cfg: PassConfig | None) -> str:
    """There are always some."""
    return "trains all weights"


def layers_to_round(network: Network, cfg: PassConfig | None) -> str:
    """The layers that become int8, but for those that ``cfg`` excludes."""
    placement = place(
        fold_bn(network.module()), keep_fp32=cfg.layers_in_fp32 if cfg is not None else ()
    )
    real = f", {len(placement.fp32)} stay in float32" * bool(placement.fp32)
    return f"{len(placement.int8)} layers become int8{real}"
