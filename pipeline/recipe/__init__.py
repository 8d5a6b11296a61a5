"""What a recipe may say.

A recipe is a YAML file; `read_recipe` turns it into a frozen, complete `Recipe` or raises
`InputError` with the place, the value and what is allowed there. Nothing here computes anything.
"""

from edgeticket.pipeline.recipe.config import Config, Count, Share
from edgeticket.pipeline.recipe.distil import (
    Attention,
    Decoupled,
    Distil,
    Features,
    Review,
    SoftTargets,
    TeacherConfig,
)
from edgeticket.pipeline.recipe.methods import (
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
    PassConfig,
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
from edgeticket.pipeline.recipe.model import ModelConfig
from edgeticket.pipeline.recipe.parts import BenchConfig, BundleConfig, TrainConfig
from edgeticket.pipeline.recipe.reading import (
    AnyConfig,
    check,
    read_document,
    read_recipe,
)
from edgeticket.pipeline.recipe.recipe import Recipe
from edgeticket.pipeline.recipe.sources import DataConfig

__all__ = [
    "PASSES",
    "TICKET_METHODS",
    "AnyConfig",
    "Attention",
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
    "Decoupled",
    "Distil",
    "EdgePopup",
    "Features",
    "Finetune",
    "Levels",
    "Magnitude",
    "ModelConfig",
    "Pass",
    "PassConfig",
    "Ptq",
    "Qat",
    "RandomMask",
    "Recipe",
    "Reinit",
    "ResidualBlocks",
    "Review",
    "Rewinding",
    "ScoreMiner",
    "Share",
    "SoftTargets",
    "StochasticGates",
    "TeacherConfig",
    "TrainConfig",
    "WeightGates",
    "WeightPenalty",
    "WeightTicket",
    "check",
    "read_document",
    "read_recipe",
]
