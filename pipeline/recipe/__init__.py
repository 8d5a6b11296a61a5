"""What a recipe may say.

A recipe is a YAML file; `read_recipe` turns it into a frozen, complete `Recipe` or raises
`InputError` with the place, the value and what is allowed there. Nothing here computes anything.
"""

from pipeline.recipe.config import Config, Count, Share
from pipeline.recipe.distil import Distil, SoftTargets, Teacher
from pipeline.recipe.methods import (
    PASSES,
    TICKET_METHODS,
    BlockBudget,
    Budget,
    ChannelMagnitude,
    ChannelPenalty,
    ChannelTicket,
    ContinuousSparsification,
    Control,
    EdgePopup,
    Finetune,
    Levels,
    Magnitude,
    Pass,
    Ptq,
    Qat,
    RandomMask,
    Reinit,
    ResidualBlocks,
    Rewinding,
    ScoreMiner,
    StochasticGates,
    WeightGates,
    WeightPenalty,
    WeightTicket,
)
from pipeline.recipe.parts import (
    BenchConfig,
    BundleConfig,
    DataConfig,
    ModelConfig,
    TrainConfig,
)
from pipeline.recipe.reading import (
    AnyConfig,
    check,
    read_document,
    read_recipe,
)
from pipeline.recipe.recipe import (
    Recipe,
)

__all__ = [
    "PASSES",
    "TICKET_METHODS",
    "AnyConfig",
    "BenchConfig",
    "BlockBudget",
    "Budget",
    "BundleConfig",
    "ChannelMagnitude",
    "ChannelPenalty",
    "ChannelTicket",
    "Config",
    "ContinuousSparsification",
    "Control",
    "Count",
    "DataConfig",
    "Distil",
    "EdgePopup",
    "Finetune",
    "Levels",
    "Magnitude",
    "ModelConfig",
    "Pass",
    "Ptq",
    "Qat",
    "RandomMask",
    "Recipe",
    "Reinit",
    "ResidualBlocks",
    "Rewinding",
    "ScoreMiner",
    "Share",
    "SoftTargets",
    "StochasticGates",
    "Teacher",
    "TrainConfig",
    "WeightGates",
    "WeightPenalty",
    "WeightTicket",
    "check",
    "read_document",
    "read_recipe",
]
