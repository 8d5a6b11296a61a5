"""Ways of finding a ticket: one file each, and one line here. docs/tickets.md explains them."""

from __future__ import annotations

from collections.abc import Callable

from edgeticket.pipeline.tickets import (
    channel_magnitude,
    channel_penalty,
    continuous_sparsification,
    edge_popup,
    magnitude,
    random_mask,
    reinit,
    residual_blocks,
    rewinding,
    score_miner,
    stochastic_gates,
    structure,
    weight_gates,
    weight_penalty,
)
from edgeticket.pipeline.tickets.ticket import Ticket

__all__ = ["BLOCKS", "CHANNELS", "LEVELS", "TICKETS", "WEIGHTS", "Ticket"]

# By method. Channels, and whole blocks, are removed physically.
CHANNELS: dict[str, Callable[..., Ticket]] = {
    "stochastic_gates": stochastic_gates.find_ticket,
    "channel_magnitude": channel_magnitude.find_ticket,
    "channel_penalty": channel_penalty.find_ticket,
    "structure": structure.find_ticket,
}
BLOCKS: dict[str, Callable[..., Ticket]] = {
    "residual_blocks": residual_blocks.find_ticket,
}
# Single weights are zeroed.
WEIGHTS: dict[str, Callable[..., Ticket]] = {
    "magnitude": magnitude.find_ticket,
    "weight_penalty": weight_penalty.find_ticket,
    "edge_popup": edge_popup.find_ticket,
    "score_miner": score_miner.find_ticket,
    "continuous_sparsification": continuous_sparsification.find_ticket,
    "weight_gates": weight_gates.find_ticket,
}
# Single weights, level by level; they share the training states of their levels.
LEVELS: dict[str, Callable[..., Ticket]] = {
    "rewinding": rewinding.find_ticket,
    "random_mask": random_mask.find_ticket,
    "reinit": reinit.find_ticket,
}
TICKETS = CHANNELS | BLOCKS | WEIGHTS | LEVELS
