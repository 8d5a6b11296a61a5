"""Distillation of outputs as they are, whatever they mean."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.recipe.distil import Outputs
from edgeticket.pipeline.train.distil.answers import Answers, same_shapes


class OutputLoss(nn.Module):
    """The distance of the teacher's outputs and the student's, summed over the chosen outputs."""

    def __init__(self, cfg: Outputs, student: Answers, teacher: Answers) -> None:
        super().__init__()
        which = cfg.which
        if which is None:
            counts = len(student.all_outputs), len(teacher.all_outputs)
            if counts[0] != counts[1]:
                raise InputError(
                    f"distil.outputs: the network has {counts[0]} outputs, its teacher "
                    f"{counts[1]}: name those that are compared, which: [0]"
                )
            which = tuple(range(counts[0]))
        same_shapes("outputs", which, student, teacher)
        self.which, self.loss = which, cfg.loss

    def forward(self, student: Answers, teacher: Answers, labels: object) -> Tensor:
        total = student.outputs.new_zeros((), dtype=student.outputs.float().dtype)
        for index in self.which:
            mine, theirs = (a.all_outputs[index].float() for a in (student, teacher))
            total = total + self._distance(mine, theirs)
        return total

    def _distance(self, mine: Tensor, theirs: Tensor) -> Tensor:
        if self.loss == "mse":
            return F.mse_loss(mine, theirs)
        if self.loss == "l1":
            return F.l1_loss(mine, theirs)
        return (1 - F.cosine_similarity(mine.flatten(1), theirs.flatten(1))).mean()
