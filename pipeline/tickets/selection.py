"""From gates to the channels that are kept."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.tickets.expected_cost import ExpectedCost


def select_channels(
    scores: Tensor,
    groups: Sequence[ChannelGroup],
    cost: ExpectedCost,
    *,
    limit: float,
    round_to: int,
) -> list[Tensor]:
    """Keep the best channels, in blocks of ``round_to`` per group, as long as ``limit`` allows.

    Args:
        scores: [channels], the means of the gates, the groups' one after the other. Blocks come
            in the order of how far open their gates are, then of how nearly they are open.
        groups: coupled channels. One that is not wider than ``round_to`` is kept whole; the last
            block of another may be narrower, so a group keeps a multiple of ``round_to`` or all.
            Heads are blocks by themselves.
        cost: what a choice costs.
        limit: the most that it may cost.
        round_to: channels in a block.

    Returns:
        For each group, which of its channels are kept: bool [width].

    Raises:
        InputError: one block of every group is beyond ``limit`` already.
    """
    kept = torch.zeros(len(scores), dtype=torch.float64)
    waiting: list[tuple[float, float, int, int]] = []  # blocks to add: order, group, block
    blocks: list[Sequence[Tensor]] = []  # of each group, the best first: indices into scores
    first = 0
    for g, group in enumerate(groups):
        order = scores[first : first + group.width].argsort(descending=True, stable=True)
        blocks.append(torch.split(first + order, 1 if group.heads else round_to))
        kept[blocks[g][0]] = 1
        first += group.width

    def offer(g: int, block: int) -> None:
        if block < len(blocks[g]):
            means = scores[blocks[g][block]]
            # What a removed block takes away are its open gates, however shut the others are.
            order = (-means.clamp(0, 1).mean().item(), -means.mean().item())
            heapq.heappush(waiting, (*order, g, block))

    smallest = cost(kept).item()
    if smallest > limit:
        raise InputError(
            f"budget: the smallest ticket costs {smallest / cost(torch.ones_like(kept)):.3f} of "
            f"the dense network (one block of {round_to} channels, or one head, everywhere): "
            "raise the budget or lower round_to"
        )
    for g in range(len(groups)):
        offer(g, 1)
    while waiting:
        *_, g, block = heapq.heappop(waiting)
        kept[blocks[g][block]] = 1
        if cost(kept).item() <= limit * (1 + 1e-9):
            offer(g, block + 1)
        else:
            kept[blocks[g][block]] = 0  # nor will the group's later blocks ever fit
    return [part.bool() for part in torch.split(kept, [group.width for group in groups])]
