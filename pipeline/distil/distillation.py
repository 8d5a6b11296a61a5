"""The loss of a training that a teacher helps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from device_runner.errors import InputError
from pipeline.distil.answers import Answers
from pipeline.distil.logits import SoftTargetLoss
from pipeline.recipe import Distil


class Distillation(nn.Module):
    """What a teacher adds to the loss on the labels.

    Its parameters are what the losses learn besides the student: they are trained along.
    """

    def __init__(
        self,
        teacher: nn.Module,
        cfg: Distil,
        *,
        of_labels: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """``of_labels`` is the loss without a teacher: (outputs, class indices) -> one number."""
        super().__init__()
        # In a tuple, so that the teacher is no part of what is trained, switched to training
        # mode and saved.
        self.teacher = (teacher.eval().requires_grad_(False),)
        self.cfg = cfg
        self.of_labels = of_labels
        given = [name for name in LOSSES if getattr(cfg, name) is not None]
        self.weights = {name: float(getattr(cfg, name).weight) for name in given}
        self.losses = nn.ModuleDict({name: LOSSES[name](getattr(cfg, name)) for name in given})

    def forward(self, images: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        """Images as networks take them, the student's outputs for them, class indices -> loss."""
        with torch.no_grad():
            taught = Answers(self.teacher[0](images), {})
        if taught.outputs.shape != outputs.shape:
            raise InputError(
                f"distil.teacher has {taught.outputs.shape[1]} outputs, but the network that it "
                f"teaches {outputs.shape[1]}"
            )
        learnt = Answers(outputs, {})
        total = self.cfg.cross_entropy * self.of_labels(outputs, labels)
        for name, loss in self.losses.items():
            total = total + self.weights[name] * loss(learnt, taught, labels)
        return total


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "soft_targets": SoftTargetLoss,
}
