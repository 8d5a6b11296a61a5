"""Tickets of whole residual blocks.

A residual network computes x + f(x) again and again, and works on with one f less (Veit et al.,
"Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016). Runtimes pay for a
block whether its layers are wide or narrow: int8 kernels round channels up, and every layer has a
price of its own. So where channels bring parameters down and hardly the latency, blocks bring both.

Blocks go one by one, always the one whose absence changes the outputs least for what it saves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from device_runner.errors import InputError
from models.network import Network
from pipeline.cost import count
from pipeline.data import Dataset
from pipeline.mask import Mask
from pipeline.progress import QUIET, Progress
from pipeline.recipe import ResidualBlocks
from pipeline.tickets.ticket import Ticket
from pipeline.train import normalize

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
    shares of the budgets that are not kept yet. Batch norm takes its statistics from the images
    while it is judged, and keeps those of the final network: what comes before it has changed.

    Raises:
        InputError: the network has no blocks that can be removed, or too few for the budget.
    """
    budget: dict[str, float] = cfg.budget.model_dump(exclude_none=True)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.train), generator=generator)[: cfg.examples].numpy()
    images = normalize(torch.from_numpy(data.train.inputs[chosen]), data.preprocessing)
    whole = _costs(network)
    wanted = _log_probabilities(network.module(), images)

    left = network
    removed: list[dict[str, object]] = []
    blocks = models.removable_blocks(network.module())
    with progress.task("find the blocks", total=len(blocks)) as advance:
        while any(_costs(left)[kind] > share * whole[kind] for kind, share in budget.items()):
            ratios: dict[str, float] = {}
            divergences: dict[str, float] = {}
            now = _costs(left)
            for block in models.removable_blocks(left.module()):
                without = left.without([block])
                after = _costs(without)
                saved = sum(
                    max(0.0, now[kind] - max(after[kind], share * whole[kind])) / whole[kind]
                    for kind, share in budget.items()
                )
                if saved > 0:
                    found = _log_probabilities(without.module(), images)
                    divergence = F.kl_div(found, wanted, log_target=True, reduction="batchmean")
                    divergences[block] = divergence.item()
                    ratios[block] = divergence.item() / saved
            if not ratios:
                raise InputError(_too_tight(network, left, budget, whole))
            block = min(ratios, key=ratios.__getitem__)
            left = left.without([block])
            removed.append({"block": block, "divergence": divergences[block]})
            advance(1, f"{block} goes")
    left = _with_statistics(left, images)
    log = {
        "budget": budget,
        "reached_share": {kind: _costs(left)[kind] / whole[kind] for kind in budget},
        "blocks": [len(blocks) - len(removed), len(blocks)],
        "removed": removed,
    }
    return Ticket(Mask({}), left, log)


def _costs(network: Network) -> Mapping[str, float]:
    parameters, macs = count(network.module(), network.input_shape)
    return {"parameters": parameters, "macs": macs}


@torch.no_grad()
def _log_probabilities(module: nn.Module, images: Tensor) -> Tensor:
    """float32 [N, C, H, W] -> log-probabilities [N, classes], batch norm from each batch."""
    module.train()
    return torch.cat([F.log_softmax(module(batch), 1) for batch in torch.split(images, BATCH)])


def _with_statistics(network: Network, images: Tensor) -> Network:
    """The network with batch norm's statistics of ``images``."""
    module = network.module()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean of all batches
    _log_probabilities(module, images)
    return network.with_weights(module)


def _too_tight(
    network: Network, left: Network, budget: Mapping[str, float], whole: Mapping[str, float]
) -> str:
    if not models.removable_blocks(network.module()):
        return f"{network.arch} has no residual blocks that can be removed"
    reached = {kind: _costs(left)[kind] / whole[kind] for kind in budget}
    best = ", ".join(f"{kind} {share:.3f}" for kind, share in reached.items())
    return f"budget: without any of its removable blocks {network.arch} still has {best}: raise it"
