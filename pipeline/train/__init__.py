"""Training and evaluation of torch modules. There is one training loop; everything that trains
calls it."""

from edgeticket.pipeline.train.epoch import steps_per_epoch
from edgeticket.pipeline.train.evaluation import Evaluation, batch_of, evaluate, normalize, to_torch
from edgeticket.pipeline.train.loop import train
from edgeticket.pipeline.train.optimizers import lr_share
from edgeticket.pipeline.train.task import Loss

__all__ = [
    "Evaluation",
    "Loss",
    "batch_of",
    "evaluate",
    "lr_share",
    "normalize",
    "steps_per_epoch",
    "to_torch",
    "train",
]
