"""Distillation with knowledge review: a teacher's early layers teach the student's later ones, too.

Chen et al., "Distilling Knowledge via Knowledge Review", 2021. Going from the deepest layer up,
attention based fusion (ABF) merges a layer of the student with what was merged below it, and the
result is compared with the teacher's layer at several scales (hierarchical context loss, HCL).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeticket.pipeline.recipe import Review
from edgeticket.pipeline.train.distil.answers import Answers, same_kind

SCALES = (4, 2, 1)  # heights and widths that maps are also compared at, in HCL


class ReviewLoss(nn.Module):
    """The sum of HCL over all pairs of layers, which are given from the input to the output."""

    def __init__(self, cfg: Review, student: Answers, teacher: Answers) -> None:
        super().__init__()
        same_kind("review", cfg.layers, student, teacher, 4)
        self.pairs = cfg.layers
        channels = [(student.layers[s].shape[1], teacher.layers[t].shape[1]) for s, t in self.pairs]
        self.fusions = nn.ModuleList(
            Fusion(mine, cfg.width, theirs, deepest=i == len(channels) - 1)
            for i, (mine, theirs) in enumerate(channels)
        )

    def forward(self, student: Answers, teacher: Answers, labels: Tensor) -> Tensor:
        total = student.outputs.new_zeros(())
        below: Tensor | None = None
        for (of_student, of_teacher), fusion in reversed(
            list(zip(self.pairs, self.fusions, strict=True))
        ):
            wanted = teacher.layers[of_teacher]
            below, reviewed = fusion(student.layers[of_student], below, wanted.shape[2:])
            total = total + hierarchical_context(reviewed.float(), wanted.float())
        return total


class Fusion(nn.Module):
    """ABF: (student's map, what was merged below it) -> (merged, the same as the teacher's map)."""

    def __init__(self, channels: int, width: int, wanted: int, *, deepest: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        # Two attention maps, one for each of what is merged.
        self.attend = None if deepest else nn.Conv2d(2 * width, 2, 1)
        self.leave = nn.Sequential(
            nn.Conv2d(width, wanted, 3, padding=1, bias=False), nn.BatchNorm2d(wanted)
        )

    def forward(self, x: Tensor, below: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        x = self.enter(x)
        if self.attend is not None and below is not None:
            below = F.interpolate(below, x.shape[2:])
            attention = self.attend(torch.cat([x, below], 1)).sigmoid()
            x = x * attention[:, :1] + below * attention[:, 1:]
        resized = x if x.shape[2:] == size else F.interpolate(x, size)
        return x, self.leave(resized)


def hierarchical_context(mine: Tensor, theirs: Tensor) -> Tensor:
    """HCL of maps [N, C, H, W]: the weighted mean of the squared errors of the maps as they are,
    and averaged down to each scale; each scale weighs half of the one before."""
    total, weight, weights = F.mse_loss(mine, theirs), 1.0, 1.0
    for scale in SCALES:
        if scale >= min(mine.shape[2:]):
            continue
        weight /= 2
        weights += weight
        pooled = F.adaptive_avg_pool2d(mine, scale), F.adaptive_avg_pool2d(theirs, scale)
        total = total + weight * F.mse_loss(*pooled)
    return total / weights
