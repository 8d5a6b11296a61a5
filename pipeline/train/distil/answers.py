"""What a network answers to a batch, and what two of them must have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.batches import leaves_of

Pairs = Sequence[tuple[str, str]]
"""Names of layers: the student's, the teacher's."""

KINDS = {2: "vectors [N, features]", 4: "maps [N, C, H, W]"}


@dataclass(frozen=True, eq=False)
class Answers:
    """The outputs for a batch, and what some of the layers gave on the way."""

    outputs: Tensor  # the first: [N, classes], or whatever it is
    layers: Mapping[str, Tensor]  # name -> [N, channels, ...]
    others: tuple[Tensor, ...] = ()  # outputs behind the first

    @classmethod
    def of(cls, outputs: Any, layers: Mapping[str, Tensor]) -> Answers:
        """From what a network returned, whatever structure that has."""
        first, *others = leaves_of(outputs)
        return cls(first, layers, tuple(others))

    @property
    def all_outputs(self) -> tuple[Tensor, ...]:
        return self.outputs, *self.others

    def output(self, index: int, *, place: str) -> Tensor:
        """An output by its number; ``place`` is where messages say that it is named.

        Raises:
            InputError: there is none.
        """
        if index >= len(self.all_outputs):
            raise InputError(
                f"{place} names output {index}, but a network has {len(self.all_outputs)}, counted "
                "from 0"
            )
        return self.all_outputs[index]


def same_classes(student: Answers, teacher: Answers, *, output: int = 0) -> None:
    """Raise `InputError` unless both tell the same number of classes apart."""
    same_shapes("soft_targets", (output,), student, teacher)
    if student.output(output, place="distil").ndim < 2:
        raise InputError(
            f"distil: output {output} has one number for an example, and no classes that could be "
            "taught; use distil.outputs"
        )


def same_shapes(loss: str, outputs: Sequence[int], student: Answers, teacher: Answers) -> None:
    """Raise `InputError` unless the outputs with these numbers are alike."""
    for index in outputs:
        place = f"distil.{loss}"
        mine, theirs = (a.output(index, place=place).shape[1:] for a in (student, teacher))
        if mine != theirs:
            raise InputError(
                f"distil.teacher has {_counted(theirs)}, but the network that it teaches has "
                f"{_counted(mine)}: only losses on layers can be used"
            )


def _counted(shape: Sequence[int]) -> str:
    return f"{shape[0]} outputs" if len(shape) == 1 else f"outputs of {list(shape)}"


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
