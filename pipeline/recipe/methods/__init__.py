"""The passes of a recipe: ways of finding a ticket, training on, and quantisation.

docs/tickets.md explains the ways of finding a ticket; `pipeline.tickets` has them.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from edgeticket.pipeline.recipe.methods.channels import (
    BlockBudget,
    Budget,
    ChannelMagnitude,
    ChannelPenalty,
    ChannelTicket,
    ResidualBlocks,
    StochasticGates,
    Structure,
)
from edgeticket.pipeline.recipe.methods.pass_config import PassConfig
from edgeticket.pipeline.recipe.methods.training import Finetune, Ptq, Qat
from edgeticket.pipeline.recipe.methods.weights import (
    ContinuousSparsification,
    Control,
    EdgePopup,
    Levels,
    Magnitude,
    RandomMask,
    Reinit,
    Rewinding,
    ScoreMiner,
    WeightGates,
    WeightPenalty,
    WeightTicket,
)

Pass = Annotated[
    StochasticGates
    | ChannelMagnitude
    | ChannelPenalty
    | ResidualBlocks
    | Structure
    | Magnitude
    | WeightPenalty
    | Rewinding
    | RandomMask
    | Reinit
    | EdgePopup
    | ScoreMiner
    | ContinuousSparsification
    | WeightGates
    | Finetune
    | Ptq
    | Qat,
    Field(discriminator="method"),
]

PASS_CONFIGS: tuple[type[PassConfig], ...] = get_args(get_args(Pass)[0])
TICKET_METHODS = tuple(p for p in PASS_CONFIGS if p.removes != "nothing")

__all__ = [
    "PASS_CONFIGS",
    "TICKET_METHODS",
    "BlockBudget",
    "Budget",
    "ChannelMagnitude",
    "ChannelPenalty",
    "ChannelTicket",
    "ContinuousSparsification",
    "Control",
    "EdgePopup",
    "Finetune",
    "Levels",
    "Magnitude",
    "Pass",
    "PassConfig",
    "Ptq",
    "Qat",
    "RandomMask",
    "Reinit",
    "ResidualBlocks",
    "Rewinding",
    "ScoreMiner",
    "StochasticGates",
    "Structure",
    "WeightGates",
    "WeightPenalty",
    "WeightTicket",
]
