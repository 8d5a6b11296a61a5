"""The passes that find a ticket: what is done with the ticket of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.recipe import PassConfig
from edgeticket.pipeline.run.candidate import Candidate, PassResult
from edgeticket.pipeline.tickets.ticket import Ticket


class FindTicket(Protocol):
    """A way of finding a ticket, as `pipeline.tickets.TICKETS` has them."""

    def __call__(
        self,
        network: Network,
        data: Dataset,
        cfg: Any,
        *,
        seed: int,
        resume: Path | None,
        progress: Progress,
    ) -> Ticket: ...


def find_and_shrink(
    find: FindTicket,
    before: Candidate,
    data: Dataset,
    cfg: PassConfig,
    *,
    seed: int,
    resume: Path,
    progress: Progress,
) -> PassResult:
    """Find channels or blocks that can go, and remove them physically."""
    ticket = find(
        before.network, data, cfg, seed=seed, resume=resume / "training.pt", progress=progress
    )
    return PassResult(shrink(ticket.start, ticket.mask), facts=ticket.log)


def find_and_mask(
    find: FindTicket,
    before: Candidate,
    data: Dataset,
    cfg: PassConfig,
    *,
    seed: int,
    resume: Path,
    progress: Progress,
) -> PassResult:
    """Find single weights that can go, and zero them."""
    ticket = find(
        before.network, data, cfg, seed=seed, resume=resume / "training.pt", progress=progress
    )
    if layers := ticket.log["last_weight_layers"]:
        progress.say(f"{cfg.method}: one weight alone is left of {', '.join(layers)}")
    return PassResult(ticket.mask.apply(ticket.start), ticket.mask, facts=ticket.log)
