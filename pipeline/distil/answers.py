"""What a network answers to a batch, and what two of them must have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edgeticket.device_runner.errors import InputError

Pairs = Sequence[tuple[str, str]]
"""Names of layers: the student's, the teacher's."""

KINDS = {2: "vectors [N, features]", 4: "maps [N, C, H, W]"}


@dataclass(frozen=True, eq=False)
class Answers:
    """The outputs for a batch, and what some of the layers gave on the way."""

    outputs: Tensor  # [N, classes]
    layers: Mapping[str, Tensor]  # name -> [N, channels, ...]


def same_classes(student: Answers, teacher: Answers) -> None:
    """Raise `InputError` unless both tell the same number of classes apart."""
    if student.outputs.shape[1:] != teacher.outputs.shape[1:]:
        raise InputError(
            f"distil.teacher has {teacher.outputs.shape[1]} outputs, but the network that it "
            f"teaches has {student.outputs.shape[1]}: only losses on layers can be used"
        )


def same_kind(loss: str, pairs: Pairs, student: Answers, teacher: Answers, *ndims: int) -> None:
    """Raise `InputError` unless both layers of each pair are maps, or vectors, as ``loss`` needs.

    Args:
        ndims: what it can use; 4 is a map [N, channels, height, width], 2 a vector [N, features].
    """
    for of_student, of_teacher in pairs:
        shapes = [list(student.layers[of_student].shape), list(teacher.layers[of_teacher].shape)]
        if len(shapes[0]) != len(shapes[1]) or len(shapes[0]) not in ndims:
            wanted = " or ".join(
                {2: "vectors [N, features]", 4: "maps [N, C, H, W]"}[n] for n in ndims
            )
            raise InputError(
                f"distil.{loss} compares {wanted}, but {of_student} of the network gives "
                f"{shapes[0]} and {of_teacher} of its teacher {shapes[1]}"
            )
