"""Distillation of feature maps, value by value."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgeticket.pipeline.recipe import Features
from edgeticket.pipeline.train.distil.answers import Answers, same_kind


class HintLoss(nn.Module):
    """Hints: Romero et al., "FitNets: Hints for Thin Deep Nets", 2015.

    The mean squared error between the teacher's features and the student's, which a learned linear
    map (a 1×1 convolution on maps) brings to as many channels; summed over the pairs of layers.
    """

    def __init__(self, cfg: Features, student: Answers, teacher: Answers) -> None:
        super().__init__()
        same_kind("features", cfg.layers, student, teacher, 2, 4)
        self.pairs = cfg.layers
        self.regressors = nn.ModuleList()
        for of_student, of_teacher in cfg.layers:
            shapes = student.layers[of_student].shape, teacher.layers[of_teacher].shape
            channels = shapes[0][1], shapes[1][1]
            maps = len(shapes[0]) == 4
            self.regressors.append(nn.Conv2d(*channels, 1) if maps else nn.Linear(*channels))

    def forward(self, student: Answers, teacher: Answers, labels: Tensor) -> Tensor:
        total = student.outputs.new_zeros(())
        for (of_student, of_teacher), regressor in zip(self.pairs, self.regressors, strict=True):
            mine, theirs = same_size(student.layers[of_student], teacher.layers[of_teacher])
            total = total + F.mse_loss(regressor(mine).float(), theirs.float())
        return total


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [N, C, H, W] -> averaged down to the smaller size; vectors as they are."""
    if a.shape[2:] == b.shape[2:]:
        return a, b
    size = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    return F.adaptive_avg_pool2d(a, size), F.adaptive_avg_pool2d(b, size)
