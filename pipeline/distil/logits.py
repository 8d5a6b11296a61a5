"""Distillation of outputs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.distil.answers import Answers
from pipeline.recipe import SoftTargets


class SoftTargetLoss(nn.Module):
    """Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.

    T²·KL(p_teacher ‖ p_student), mean over the batch, of probabilities softmax(z / T). T² keeps
    the size of the gradient when T changes.
    """

    def __init__(self, cfg: SoftTargets) -> None:
        super().__init__()
        self.temperature = cfg.temperature

    def forward(self, student: Answers, teacher: Answers, labels: Tensor) -> Tensor:
        t = self.temperature
        log_student = F.log_softmax(student.outputs.float() / t, 1)
        log_teacher = F.log_softmax(teacher.outputs.float() / t, 1)
        divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        return t * t * divergence
