"""Ways of finding a ticket: one file each, and one line here. docs/tickets.md explains them."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.mask import Mask
from pipeline.tickets import channel_magnitude, magnitude, stochastic_gates
from pipeline.tickets.ticket import Ticket

__all__ = ["TICKETS", "Mask", "Ticket"]

TICKETS: dict[str, Callable[..., Ticket]] = {
    "stochastic_gates": stochastic_gates.find_ticket,
    "channel_magnitude": channel_magnitude.find_ticket,
    "magnitude": magnitude.find_ticket,
}
