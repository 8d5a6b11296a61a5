"""Training and evaluation of torch modules. There is one training loop; everything that trains
calls it."""

from edgeticket.pipeline.task import Loss
from edgeticket.pipeline.train.epoch import steps_per_epoch
from edgeticket.pipeline.train.evaluation import (
    Comparison,
    Evaluation,
    batch_of,
    compare,
    evaluate,
    normalize,
    to_torch,
)
from edgeticket.pipeline.train.loop import train
from edgeticket.pipeline.train.optimizers import lr_share

__all__ = [
    "Comparison",
    "Evaluation",
    "Loss",
    "batch_of",
    "compare",
    "evaluate",
    "lr_share",
    "normalize",
    "steps_per_epoch",
    "to_torch",
    "train",
]
