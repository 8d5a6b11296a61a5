"""Control: does it matter which weights are kept, or only how many of each layer?

The ticket of another method with its mask shuffled within each tensor (Frankle and Carbin 2019).
"""

from __future__ import annotations

from pathlib import Path

import torch

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.recipe import Control, Magnitude
from edgeticket.pipeline.tickets import magnitude, rewinding
from edgeticket.pipeline.tickets.ticket import Ticket


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: Control,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """A random mask with the per-layer sparsity of another method's ticket, and its start.

    With the ``resume`` of a finished run of that method, its training is not repeated.

    Raises:
        InputError: as the method ``cfg.of``.
    """
    ticket = find_original(network, data, cfg, seed=seed, resume=resume, progress=progress)
    generator = torch.Generator().manual_seed(seed)
    shuffled = {
        name: kept.flatten()[torch.randperm(kept.numel(), generator=generator)].view(kept.shape)
        for name, kept in ticket.mask.tensors.items()
    }
    return Ticket(Mask(shuffled), ticket.start, ticket.log)


def find_original(
    network: Network,
    data: Dataset,
    cfg: Control,
    *,
    seed: int,
    resume: Path | None,
    progress: Progress,
) -> Ticket:
    """The ticket that a control is made of."""
    if cfg.of == "rewinding":
        return rewinding.find_ticket(
            network, data, cfg, seed=seed, resume=resume, progress=progress
        )
    one_shot = Magnitude(
        method="magnitude", sparsity=cfg.sparsity, exclude=cfg.exclude, scope=cfg.scope
    )
    return magnitude.find_ticket(
        network, data, one_shot, seed=seed, resume=resume, progress=progress
    )
