"""Tickets of whole residual blocks.

A residual network computes x + f(x) again and again, and works on with one f less (Veit et al.,
"Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016). Runtimes pay for a
block whether its layers are wide or narrow: int8 kernels round channels up, and every layer has a
price of its own. So where channels bring parameters down and hardly the latency, blocks bring both.

Blocks go one by one, always the one whose absence changes the outputs least for what it saves.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import to_json
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.graph.batches import Batch, leaves_of, split, tensors_of
from edgeticket.pipeline.network.layers import BatchNorm
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.recipe import ResidualBlocks
from edgeticket.pipeline.tickets.block_latency import BlockLatency, measure_blocks
from edgeticket.pipeline.tickets.ticket import Ticket
from edgeticket.pipeline.train.batches import as_taken, stored_of

BATCH = 250


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: ResidualBlocks,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Remove residual blocks of ``network``, which was trained, until every budget is kept.

    At each step the block with the smallest ratio goes: the divergence of the outputs from those
    of the whole network, KL(whole ‖ without) on ``cfg.examples`` training images, over the saved
    shares of the budgets that are not kept yet; of outputs that are no classes, the noise as a
    share of the signal. Batch norm takes its statistics from the images while it is judged, and
    keeps those of the final network: what comes before it has changed.

    Raises:
        InputError: the network has no blocks that can be removed, or too few for the budget; a
            latency that counts cannot be measured.
    """
    budget: dict[str, float] = cfg.budget.model_dump(exclude_none=True)
    blocks = models.removable_blocks(network.module())
    if not blocks:
        raise InputError(f"{network.arch} has no residual blocks that can be removed")
    measured = None
    if "latency" in budget:
        measured = measure_blocks(network, data, runtime=cfg.runtime, bench=cfg.bench)
    costs = functools.partial(_costs, measured=measured)
    shares = functools.partial(_shares, whole=costs(network))
    least = shares(costs(network.without(blocks)))
    if any(least[kind] > share for kind, share in budget.items()):
        best = ", ".join(f"{kind} {least[kind]:.3f}" for kind in budget)
        raise InputError(
            f"budget: without any of its removable blocks {network.arch} still has {best} of the "
            "dense network: raise it"
        )

    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.train), generator=generator)[: cfg.examples].numpy()
    examples = as_taken(stored_of(data.train.take(chosen)), data.preprocessing)
    in_nats = data.train.labels is not None
    wanted = _outputs(network.module(), examples)
    left, now = network, shares(costs(network))
    removed: list[dict[str, object]] = []
    with progress.task("find the blocks", total=len(blocks)) as advance:
        while any(now[kind] > share for kind, share in budget.items()):
            divergences: dict[str, float] = {}
            ratios: dict[str, float] = {}
            for block in models.removable_blocks(left.module()):
                without = left.without([block])
                then = shares(costs(without))
                saved = sum(
                    max(0.0, now[kind] - max(then[kind], share)) for kind, share in budget.items()
                )
                if saved > 0:
                    outputs = _outputs(without.module(), examples)
                    divergences[block] = _divergence(outputs, wanted, in_nats=in_nats)
                    ratios[block] = divergences[block] / saved
            block = min(ratios, key=ratios.__getitem__)
            left = left.without([block])
            now = shares(costs(left))
            removed.append({"block": block, "divergence": divergences[block]})
            advance(1, f"{block} goes")
    left = _with_statistics(left, examples)
    log: dict[str, object] = {
        "budget": budget,
        "reached_share": {kind: now[kind] for kind in budget},
        "blocks": [len(blocks) - len(removed), len(blocks)],
        "removed": removed,
    }
    if measured is not None:
        log["latency_ms"] = {"runtime": cfg.runtime, **to_json(measured)}
    return Ticket(Mask({}), left, log)


def _costs(network: Network, *, measured: BlockLatency | None) -> dict[str, float]:
    parameters, macs = count(network.module(), network.input_shapes)
    costs: dict[str, float] = {"parameters": parameters, "macs": macs}
    if measured is not None:
        saved = sum(measured.blocks.get(block, 0.0) for block in network.bypassed)
        costs["latency"] = measured.whole - saved
    return costs


def _shares(costs: Mapping[str, float], *, whole: Mapping[str, float]) -> dict[str, float]:
    return {kind: cost / whole[kind] for kind, cost in costs.items()}


@torch.no_grad()
def _outputs(module: nn.Module, examples: Batch) -> tuple[Tensor, ...]:
    """What a network takes -> each of its outputs, batch norm from each batch."""
    module.train()
    parts = [leaves_of(module(*tensors_of(batch))) for batch in split(examples, BATCH)]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _divergence(outputs: tuple[Tensor, ...], wanted: tuple[Tensor, ...], *, in_nats: bool) -> float:
    """KL(wanted ‖ outputs) of logits, or the noise of all outputs as a share of their signal."""
    if in_nats:
        log_outputs, log_wanted = (F.log_softmax(logits[0], 1) for logits in (outputs, wanted))
        return F.kl_div(log_outputs, log_wanted, log_target=True, reduction="batchmean").item()
    noise = [
        ((a - b).square().sum() / b.square().sum().clamp(min=1e-12)).item()
        for a, b in zip(outputs, wanted, strict=True)
    ]
    return sum(noise) / len(noise)


def _with_statistics(network: Network, examples: Batch) -> Network:
    """The network with batch norm's statistics of ``examples``."""
    module = network.module()
    for layer in module.modules():
        if isinstance(layer, BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean of all batches
    _outputs(module, examples)
    return network.with_weights(module)
