"""Strong tickets as files: seed, coded mask, and the few numbers that cannot be drawn.

    data = encode(network, mask, init="signed_constant", init_kept=0.05, seed=0)
    ticket = decode(data, place="x.ticket")     # ticket.network has the same bits

docs/ticket-format.md has the format for readers in other languages.
"""

from edgeticket.pipeline.tickets.file.facts import TicketFacts, weigh
from edgeticket.pipeline.tickets.file.header import SettledBySeed
from edgeticket.pipeline.tickets.file.seeded import SeededTicket, decode, encode, is_strong, read

__all__ = [
    "SeededTicket",
    "SettledBySeed",
    "TicketFacts",
    "decode",
    "encode",
    "is_strong",
    "read",
    "weigh",
]
