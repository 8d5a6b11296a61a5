"""Distillation of where a network looks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgeticket.pipeline.recipe import Attention
from edgeticket.pipeline.train.distil.answers import Answers, same_kind
from edgeticket.pipeline.train.distil.hints import same_size


class AttentionLoss(nn.Module):
    """Attention transfer: Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017.

    The mean squared error between attention maps, summed over the pairs of layers. The authors'
    factor β is the weight; their code, whose 1000 is the usual value, takes the mean as well.
    """

    def __init__(self, cfg: Attention, student: Answers, teacher: Answers) -> None:
        super().__init__()
        same_kind("attention", cfg.layers, student, teacher, 4)
        self.pairs = cfg.layers

    def forward(self, student: Answers, teacher: Answers, labels: Tensor) -> Tensor:
        total = student.outputs.new_zeros(())
        for of_student, of_teacher in self.pairs:
            mine, theirs = same_size(student.layers[of_student], teacher.layers[of_teacher])
            total = total + F.mse_loss(attention_map(mine), attention_map(theirs))
        return total


def attention_map(features: Tensor) -> Tensor:
    """Maps [N, C, H, W] -> Σ_c x², as vectors of length 1: [N, H·W]."""
    return F.normalize(features.float().square().sum(1).flatten(1))
