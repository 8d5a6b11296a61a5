"""How large a ticket file is, and how large its mask would be otherwise."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from edgeticket.pipeline.tickets.file import layout
from edgeticket.pipeline.tickets.file.mask_code import bound_bits
from edgeticket.pipeline.tickets.file.seeded import SeededTicket


@dataclass(frozen=True)
class TicketFacts:
    """Sizes of one ticket file. Bits are per drawn weight, kept or not."""

    size_bytes: int
    header_bytes: int
    numbers_bytes: int  # what cannot be drawn: statistics of batch norm, mostly
    mask_bytes: int
    weights: int
    kept: int
    bits_per_weight: float  # of the coded mask
    bound_bits_per_weight: float  # Σ n·H(k/n) over tensors, n weights of which k are kept
    deflated_mask_bytes: int  # one bit a weight, zlib at its best


def weigh(data: bytes, ticket: SeededTicket) -> TicketFacts:
    """The bytes of a ticket file, and what they decode to -> its sizes."""
    sections = layout.split(data, place="the ticket file")
    masks = [kept.numpy() for kept in ticket.mask.tensors.values()]
    sizes = [mask.size for mask in masks]
    ones = [int(np.count_nonzero(mask)) for mask in masks]
    packed = np.packbits(np.concatenate([mask.ravel() for mask in masks])).tobytes()
    weights = sum(sizes)
    return TicketFacts(
        size_bytes=len(data),
        header_bytes=len(sections.header),
        numbers_bytes=len(sections.numbers),
        mask_bytes=len(sections.mask),
        weights=weights,
        kept=sum(ones),
        bits_per_weight=8 * len(sections.mask) / weights,
        bound_bits_per_weight=bound_bits(sizes, ones) / weights,
        deflated_mask_bytes=len(zlib.compress(packed, 9)),
    )
