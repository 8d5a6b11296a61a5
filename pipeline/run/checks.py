"""What passes find to work on in a network, in a few words; an error says why there is nothing.

Weights do not matter for that. A pass is also asked without its configuration, for `inspect`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.models.own import is_own
from edgeticket.pipeline.graph.batches import Batch, first_of, leaves_of, tensors_of
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.graph.indices import index_limits
from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.prune.channels import follow_channels
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.quantize import fold_bn
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.write_back import expect_unfoldable
from edgeticket.pipeline.recipe import PassConfig
from edgeticket.pipeline.tickets.prunable import prunable
from edgeticket.pipeline.time_limit import OutOfTime, time_limit

EXAMPLES = 4  # random inputs


def example_inputs(network: Network) -> Batch:
    """Random inputs, as networks take them."""
    generator = torch.Generator().manual_seed(0)
    plain = None
    if len(network.input_shapes) == 1:
        plain = torch.randn(EXAMPLES, *network.input_shape, generator=generator)
        if not is_own(network.arch):
            return plain
    try:
        graph: Graph = fold_bn(network.module(), network.input_shapes).meta["graph"]
    except InputError:
        if plain is None:
            raise
        return plain  # channels may go of networks that cannot be written as files
    limits = index_limits(graph)
    tensors = []
    for name in graph.inputs:
        shape = (EXAMPLES, *graph.values[name].shape[1:])
        if graph.values[name].dtype == "float32":
            tensors.append(torch.randn(shape, generator=generator))
        else:
            tensors.append(torch.randint(limits.get(name, 2), shape, generator=generator))
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def checked(
    check: Callable[[Network, PassConfig | None], str],
    network: Network,
    cfg: PassConfig | None,
    *,
    limit_s: float,
) -> str:
    """What ``check`` finds in ``network``, whatever the network's own code does.

    Raises:
        InputError: nothing; or it cannot be told within ``limit_s`` of computing.
    """
    try:
        with time_limit(limit_s):
            return check(network, cfg)
    except InputError:
        raise
    except OutOfTime:
        reason = f"not at its end after {limit_s:g} s of computing"
    except Exception as error:  # whatever a network that somebody wrote raises
        words = " ".join(str(error).split())
        reason = f"{type(error).__name__}: {words}" if words else type(error).__name__
    raise InputError(
        f"channels of {network.arch} cannot be followed ({reason}): use a pass that "
        "prunes single weights (magnitude, weight_gates), or ptq alone"
    )


def channels_that_can_go(network: Network, cfg: PassConfig | None) -> str:
    """Half of the channels of every group are removed for a try."""
    channels = follow_channels(network.module(), network.input_shapes)
    groups = channels.groups
    if not groups:
        raise InputError(f"{network.arch} has no channels that can be removed{channels.why}")
    trouble = _trouble_without(network, groups)
    if trouble:
        raise InputError(
            f"{network.arch} {trouble} without channels that are zero: sizes written as numbers in "
            "its forward (use those of tensors), or channels that meet in a way that is not "
            "followed; use a pass that prunes single weights (magnitude, weight_gates), or ptq "
            "alone"
        )
    return f"{sum(g.width for g in groups):,} channels in {len(groups)} groups can go"


def _trouble_without(network: Network, groups: tuple[ChannelGroup, ...]) -> str:
    """What happens when zeroed channels are not there; "" where it makes no difference."""
    half = [torch.arange(group.width) % 2 == 0 for group in groups]
    mask = channel_mask(network.module(), groups, half)
    narrow = shrink(network, mask)
    inputs = tensors_of(first_of(example_inputs(network), 2))
    try:
        with torch.no_grad():
            outputs = leaves_of(narrow.module()(*inputs))
            masked = leaves_of(mask.apply(network).module()(*inputs))
        same = all(
            torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(outputs, masked, strict=True)
        )
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return f"no longer runs ({' '.join(str(error).split())})"
    return "" if same else "computes something else"


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
    if cfg is not None and cfg.moves_weights:
        expect_unfoldable(network)
    placement = place(
        fold_bn(network.module(), network.input_shapes),
        keep_fp32=cfg.layers_in_fp32 if cfg is not None else (),
    )
    real = f", {len(placement.fp32)} stay in float32" * bool(placement.fp32)
    return f"{len(placement.int8)} layers become int8{real}"
