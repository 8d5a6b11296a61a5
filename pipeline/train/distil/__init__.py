"""Distillation: losses by which a teacher helps any training. docs/distillation.md explains them.

A loss is a module: (student's answers, teacher's answers, class indices) -> one number. What it has
to learn is trained along with the student, and thrown away.
"""

from edgeticket.pipeline.train.distil.answers import Answers
from edgeticket.pipeline.train.distil.distillation import LOSSES, Distillation

__all__ = ["LOSSES", "Answers", "Distillation"]
