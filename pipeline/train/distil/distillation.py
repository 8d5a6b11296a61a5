"""The loss of a training that a teacher helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgeticket.pipeline.graph.batches import Batch, tensors_of
from edgeticket.pipeline.recipe import Distil
from edgeticket.pipeline.task import Loss
from edgeticket.pipeline.train.distil.answers import Answers
from edgeticket.pipeline.train.distil.attention import AttentionLoss
from edgeticket.pipeline.train.distil.hints import HintLoss
from edgeticket.pipeline.train.distil.logits import DecoupledLoss, SoftTargetLoss
from edgeticket.pipeline.train.distil.outputs import OutputLoss
from edgeticket.pipeline.train.distil.review import ReviewLoss
from edgeticket.pipeline.train.distil.taps import Taps


class Distillation(nn.Module):
    """The loss on the labels and what a teacher adds to it, weighted and summed up.

    Its parameters are what the losses learn besides the student: they are trained along. It
    listens to layers of the student until it is closed.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        cfg: Distil,
        *,
        of_labels: Loss,
        see: Callable[[Batch], Batch],
        example: tuple[Batch, Batch],
    ) -> None:
        """
        Args:
            student: what is trained; it is called by the training loop.
            teacher: called here, in evaluation mode and without gradients.
            cfg: which losses, and their weights.
            of_labels: the loss without a teacher: (outputs, targets) -> one number.
            see: examples as they are stored -> what the teacher takes.
            example: a few examples as the student takes them, and as they are stored.

        Raises:
            InputError: layers that are named do not exist, or do not fit.
        """
        super().__init__()
        # In a tuple, so that the teacher is no part of what is trained, switched to training
        # mode and saved.
        self.teacher = (teacher.eval().requires_grad_(False),)
        self.cross_entropy = cfg.cross_entropy
        self.of_labels = of_labels
        self.see = see
        losses = {n: getattr(cfg, n) for n in LOSSES if getattr(cfg, n) is not None}
        self.weights = {name: float(loss.weight) for name, loss in losses.items()}
        pairs = [pair for loss in losses.values() for pair in getattr(loss, "layers", ())]
        self.of_outputs_alone = not pairs  # nothing of the teacher's layers is learnt
        self.student_taps = Taps(student, {s for s, _ in pairs}, owner="the network")
        self.teacher_taps = Taps(teacher, {t for _, t in pairs}, owner="its teacher")

        training = student.training
        with torch.no_grad():
            outputs = student.eval()(*tensors_of(example[0]))
            learnt = Answers.of(outputs, self.student_taps.read())
        student.train(training)
        taught = self.ask(example[1])
        self.losses = nn.ModuleDict(
            {name: LOSSES[name](loss, learnt, taught) for name, loss in losses.items()}
        )

    def forward(
        self, batch: Batch, outputs: Any, labels: Any, taught: Answers | None = None
    ) -> Tensor:
        """The loss of the student's last call.

        Args:
            batch: its examples as they are stored.
            outputs: what the student answered: a tensor, or several.
            labels: class indices, or what else the task has to learn.
            taught: what the teacher answers to the batch; None: it is asked.
        """
        learnt = Answers.of(outputs, self.student_taps.read())
        taught = taught or self.ask(batch)
        total = self.cross_entropy * self.of_labels(outputs, labels)
        for name, loss in self.losses.items():
            total = total + self.weights[name] * loss(learnt, taught, labels)
        return total

    def ask(self, batch: Batch) -> Answers:
        """Examples as they are stored -> what the teacher answers."""
        (teacher,) = self.teacher
        with torch.no_grad():  # not inference_mode: losses save what they need for backward
            outputs = teacher(*tensors_of(self.see(batch)))
            return Answers.of(outputs, self.teacher_taps.read())

    def close(self) -> None:
        """Leave the student as it was."""
        self.student_taps.close()
        self.teacher_taps.close()


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "soft_targets": SoftTargetLoss,
    "dkd": DecoupledLoss,
    "outputs": OutputLoss,
    "features": HintLoss,
    "attention": AttentionLoss,
    "review": ReviewLoss,
}
