"""Channel tickets by stochastic gates.

Every channel of a coupled group gets a gate z = clip(μ + σε, 0, 1), ε ~ N(0, 1) (STG: Yamada et
al., "Feature Selection using Stochastic Gates", 2020). It is open with probability Φ(μ/σ), which
makes the expected cost of the network differentiable. An augmented Lagrangian controls that cost
along a falling target to the budget while the weights are trained along. σ falls, too, so that
at the end the noise no longer opens or closes a gate.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.recipe import StochasticGates
from edgeticket.pipeline.tickets.channel_magnitude import removable
from edgeticket.pipeline.tickets.expected_cost import EXPECTED
from edgeticket.pipeline.tickets.gated import Gated
from edgeticket.pipeline.tickets.selection import select_channels
from edgeticket.pipeline.tickets.ticket import Ticket
from edgeticket.pipeline.train import evaluate, steps_per_epoch, train


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: StochasticGates,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Find the channels of ``network`` that do the job within a budget.

    Args:
        network: a trained network.
        data: trained on ``data.train``; ``data.validation`` judges the result for the log.
        cfg: the budget, and how to get there.
        seed: decides order, augmentation and noise.
        resume: a state file, see `pipeline.train.train`.
        progress: shows the training.

    Returns:
        A mask of whole channels, as `select_channels` keeps them, and the trained weights with
        the values of the open gates multiplied into them.

    Raises:
        InputError: the budget is below the smallest ticket; the training diverged.
    """
    module = network.module()
    groups = removable(network)
    [(kind, budget)] = cfg.budget.model_dump(exclude_none=True).items()
    cost = EXPECTED[kind](module, groups, network.input_shapes)
    steps = cfg.train.epochs * steps_per_epoch(data.train, cfg.train)
    gated = Gated(module, groups, cost, cfg, budget=budget, steps=steps)
    limit = budget * gated.dense_cost
    # Raises before the training what it would raise after it.
    select_channels(gated.means.detach(), groups, cost, limit=limit, round_to=cfg.round_to)

    train(
        gated,
        data.train,
        cfg.train,
        preprocessing=data.preprocessing,
        seed=seed,
        penalty=gated.cost_penalty,
        adam_lr={"means": cfg.gate_lr},
        resume=resume,
        progress=progress,
        title="find the ticket",
    )
    means = gated.means.detach()
    kept = select_channels(means, groups, cost, limit=limit, round_to=cfg.round_to)
    mask = channel_mask(module, groups, kept)
    start = _fold_gates(network.with_weights(module), gated)

    before = evaluate(gated, data.validation, preprocessing=data.preprocessing)
    after = evaluate(mask.apply(start).module(), data.validation, preprocessing=data.preprocessing)
    log = {
        "budget": {kind: budget},
        "expected_share": gated.expected_share().item(),
        "reached_share": cost(torch.cat(kept).double()).item() / gated.dense_cost,
        "gates": len(means),
        "fractional_gates": int(((means > 0) & (means < 1)).sum()),
        **before.logged("_with_gates"),
        **after.logged("_with_mask"),
        "widths": {g.name: [int(k.sum()), g.width] for g, k in zip(groups, kept, strict=True)},
    }
    return Ticket(mask, start, log)


def _fold_gates(network: Network, gated: Gated) -> Network:
    """Multiply the gates into the weights."""
    # A channel may be kept though its gate is shut, to fill a block. With weights of exactly zero
    # no gradient would ever pass its rectifier again.
    gates = gated.means.detach().clamp(0.01, 1)
    folded = {name: tensor.detach() for name, tensor in gated.gated_tensors(gates).items()}
    return replace(network, weights={**network.weights, **folded})
