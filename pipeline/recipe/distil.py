"""What a recipe may say about distillation: who teaches, and which losses.

docs/distillation.md explains the losses; `pipeline.distil` has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.recipe.config import Config

DENSE = "dense"  # the name of what a recipe's passes start from

Weight = Annotated[float, Field(gt=0)]
Temperature = Annotated[float, Field(gt=0)]


class Teacher(Config):
    """A network of the same run, or an imported one.

    In a recipe ``teacher: dense`` is short for ``teacher: {step: dense}``.
    """

    # dense; or an earlier pass: its method, or its position in compress (0 is the first).
    step: str | None = None
    # A safetensors file, looked up as model.weights is.
    weights: str | None = None
    arch: str | None = None  # of the weights; a key of models.ARCHITECTURES
    args: Mapping[str, bool | int | float | str] = {}

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_a_step(cls, given: Any) -> Any:
        word = isinstance(given, str) or (isinstance(given, int) and not isinstance(given, bool))
        return {"step": str(given)} if word else given

    @model_validator(mode="after")
    def _one_source(self) -> Teacher:
        imported = self.weights is not None and self.arch is not None
        none = self.weights is None and self.arch is None and not self.args
        if not (imported if self.step is None else none):
            raise ValueError("name either an earlier step, or weights and arch to import")
        return self

    def find(self, earlier: Sequence[str], *, place: str) -> int | None:
        """The index of the teacher in ``earlier``; None: it is imported.

        Args:
            earlier: the networks so far by name: the first is what passes start from.
            place: where a message says that this config stands.

        Raises:
            ValueError: it is not there, or there twice.
        """
        if self.step is None:
            return None
        shown = f"{place}.distil.teacher: {self.step}"
        if self.step.isdecimal() and int(self.step) < len(earlier) - 1:
            return int(self.step) + 1
        found = [i for i, name in enumerate(earlier) if name == self.step]
        if len(found) > 1:
            positions = " or ".join(str(i - 1) for i in found)
            raise ValueError(f"{shown} is there twice; give its position, {positions}")
        if not found:
            known = f"known: {', '.join(earlier)}" if earlier else "there is none"
            raise ValueError(f"{shown} is no trained network before this one ({known})")
        return found[0]


class SoftTargets(Config):
    """Match the teacher's softened probabilities (Hinton et al. 2015)."""

    weight: Weight = 1.0
    temperature: Temperature = 4.0


class Distil(Config):
    """What a teacher adds to a training: the losses that are given, weighted, are summed up."""

    teacher: Teacher = Teacher(step=DENSE)
    cross_entropy: Annotated[float, Field(ge=0)] = 1.0  # weight of the loss on the labels
    soft_targets: SoftTargets | None = None

    @model_validator(mode="after")
    def _teaches_something(self) -> Distil:
        losses = [name for name in Distil.model_fields if name not in ("teacher", "cross_entropy")]
        if all(getattr(self, name) is None for name in losses):
            raise ValueError(f"give at least one of {', '.join(losses)}")
        return self
