"""Control: does it matter which values the kept weights start from?

The mask of another method's ticket with new random weights (Frankle and Carbin 2019).
"""

from __future__ import annotations

from pathlib import Path

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.network.initialise import initialise
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import Control
from edgeticket.pipeline.tickets.random_mask import find_original
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
    """The mask of another method's ticket; the start is drawn by PyTorch's own rules.

    With the ``resume`` of a finished run of that method, its training is not repeated.

    Raises:
        InputError: as the method ``cfg.of``.
    """
    ticket = find_original(network, data, cfg, seed=seed, resume=resume, progress=progress)
    return Ticket(ticket.mask, initialise(network, "default", seed=seed), ticket.log)
