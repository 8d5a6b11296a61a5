"""Ways of finding a ticket: one file each, and one line here."""

from __future__ import annotations

from pipeline.tickets.mask import Mask, Ticket
from pipeline.tickets.stochastic_gates import find_ticket

__all__ = ["TICKETS", "Mask", "Ticket"]

TICKETS = {"stochastic_gates": find_ticket}
