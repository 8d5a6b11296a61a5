"""Distillation of outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.recipe import Decoupled, SoftTargets
from edgeticket.pipeline.train.distil.answers import Answers, same_classes


class SoftTargetLoss(nn.Module):
    """Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.

    T²·KL(p_teacher ‖ p_student), mean over the batch, of probabilities softmax(z / T) over the
    axis behind the batch: classes, of maps those of every place. T² keeps the size of the gradient
    when T changes.
    """

    def __init__(self, cfg: SoftTargets, student: Answers, teacher: Answers) -> None:
        super().__init__()
        same_classes(student, teacher, output=cfg.output)
        self.temperature, self.output = cfg.temperature, cfg.output

    def forward(self, student: Answers, teacher: Answers, labels: Tensor) -> Tensor:
        t = self.temperature
        theirs, mine = (a.output(self.output, place="distil") for a in (teacher, student))
        divergence = _divergence(theirs.float() / t, mine.float() / t)
        return t * t * divergence.mean()


class DecoupledLoss(nn.Module):
    """DKD: Zhao et al., "Decoupled Knowledge Distillation", 2022.

    T²·(α·TCKD + β·NCKD), mean over the batch. Soft targets are TCKD + (1 − p)·NCKD, p being the
    teacher's probability of the right class: what it knows about the other classes counts least
    where it is sure. Here that has a weight of its own.
    """

    def __init__(self, cfg: Decoupled, student: Answers, teacher: Answers) -> None:
        super().__init__()
        same_classes(student, teacher)
        if student.outputs.ndim != 2:
            raise InputError(
                "distil.decoupled parts the right class from the others, and a text has none; use "
                "distil.soft_targets, which compares every frame"
            )
        self.cfg = cfg

    def forward(self, student: Answers, teacher: Answers, labels: Tensor) -> Tensor:
        t = self.cfg.temperature
        of_right, of_others = decoupled(
            student.outputs.float() / t, teacher.outputs.float() / t, labels
        )
        return t * t * (self.cfg.alpha * of_right + self.cfg.beta * of_others).mean()


def decoupled(student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, classes] of both, class indices -> (TCKD, NCKD), each [N].

    TCKD is the divergence of (right class, any other class), NCKD that among the others.
    """
    right = F.one_hot(labels, student.shape[1]).bool()

    def split(logits: Tensor) -> tuple[Tensor, Tensor]:
        others = logits[~right].view(len(logits), -1)
        return torch.stack([logits[right], others.logsumexp(1)], 1), others

    (student_pair, student_others), (teacher_pair, teacher_others) = split(student), split(teacher)
    return _divergence(teacher_pair, student_pair), _divergence(teacher_others, student_others)


def _divergence(of: Tensor, to: Tensor) -> Tensor:
    """KL(softmax(of) ‖ softmax(to)) of logits [N, classes] -> [N]."""
    log_of, log_to = F.log_softmax(of, 1), F.log_softmax(to, 1)
    return F.kl_div(log_to, log_of, reduction="none", log_target=True).sum(1)
