"""What a recipe may say about distillation: who teaches, and which losses.

docs/distillation.md explains the losses; `pipeline.distil` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from edgeticket.pipeline.recipe.config import Config, Count

DENSE = "dense"  # the name of what a recipe's passes start from

Weight = Annotated[float, Field(gt=0)]
Temperature = Annotated[float, Field(gt=0)]
# Behind a validator that runs before, strict validation takes no list for a tuple.
Numbers = Annotated[
    tuple[float, ...],
    BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given),
]


class TeacherConfig(Config):
    """A network of the same run, or an imported one.

    In a recipe ``teacher: dense`` is short for ``teacher: {step: dense}``.
    """

    # dense; or an earlier pass: its method, or its position in compress (0 is the first).
    step: str | None = None
    # A safetensors file, looked up as model.weights is.
    weights: str | None = None
    arch: str | None = None  # of the weights; a key of models.ARCHITECTURES
    args: Mapping[str, bool | int | float | str] = {}
    # Of the pixels that the weights were trained with, as model.pixel_mean and model.pixel_std.
    pixel_mean: Numbers | None = None
    pixel_std: Numbers | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_a_step(cls, given: Any) -> Any:
        word = isinstance(given, str) or (isinstance(given, int) and not isinstance(given, bool))
        return {"step": str(given)} if word else given

    @model_validator(mode="after")
    def _one_source(self) -> TeacherConfig:
        if self.step is None:
            whole = self.weights is not None and self.arch is not None
        else:
            whole = self == TeacherConfig.model_construct(step=self.step)
        if not whole:
            raise ValueError("name either an earlier step, or weights and arch to import")
        return self

    def find(self, earlier: Mapping[int, str], *, place: str) -> int | None:
        """Which of the networks in ``earlier``, see `Recipe.networks_before`; None: it is imported.

        ``place`` is where a message says that this config stands.

        Raises:
            ValueError: it is not there, or there twice.
        """
        if self.step is None:
            return None
        shown = f"{place}.distil.teacher: {self.step}"
        if self.step.isdecimal() and int(self.step) + 1 in earlier:
            return int(self.step) + 1
        found = [i for i, name in earlier.items() if name == self.step]
        if len(found) > 1:
            positions = " or ".join(str(i - 1) for i in found)
            raise ValueError(f"{shown} is there twice; give its position, {positions}")
        if not found:
            known = (
                f"known: {', '.join(earlier.values())}"
                if earlier
                else "there is none: import weights"
            )
            raise ValueError(f"{shown} is no trained network before this one ({known})")
        return found[0]


def _pair(given: Any) -> tuple[str, str]:
    pair = (given, given) if isinstance(given, str) else given
    match pair:
        case (str(mine), str(theirs)):
            return mine, theirs
    raise ValueError("name a layer, or two: the network's and its teacher's")


def _some(layers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not layers:
        raise ValueError("name at least one layer")
    return layers


Layers = Annotated[
    # The network's layer and the teacher's; one name where they are equal.
    tuple[Annotated[tuple[str, str], BeforeValidator(_pair)], ...],
    AfterValidator(_some),
]


class SoftTargets(Config):
    """Match the teacher's softened probabilities (Hinton et al. 2015)."""

    weight: Weight = 1.0
    temperature: Temperature = 4.0


class Decoupled(Config):
    """Soft targets with a weight of its own for the wrong classes (DKD, Zhao et al. 2022)."""

    weight: Weight = 1.0
    temperature: Temperature = 4.0
    alpha: Annotated[float, Field(ge=0)] = 1.0  # right class against all others
    beta: Annotated[float, Field(ge=0)] = 8.0  # among the others


class Features(Config):
    """Match feature maps through a learned 1×1 convolution (hints, Romero et al. 2015)."""

    layers: Layers
    weight: Weight = 1.0


class Attention(Config):
    """Match where layers are active (attention transfer, Zagoruyko and Komodakis 2017)."""

    layers: Layers
    weight: Weight = 1000.0


class Review(Config):
    """Match each layer of the teacher with several of the network (Chen et al. 2021)."""

    layers: Layers  # from the input to the output
    weight: Weight = 1.0
    width: Count = 64  # channels of what is merged


class Distil(Config):
    """What a teacher adds to a training: the losses that are given, weighted, are summed up."""

    teacher: TeacherConfig = TeacherConfig(step=DENSE)
    cross_entropy: Annotated[float, Field(ge=0)] = 1.0  # weight of the loss on the labels
    soft_targets: SoftTargets | None = None
    dkd: Decoupled | None = None
    features: Features | None = None
    attention: Attention | None = None
    review: Review | None = None

    @model_validator(mode="after")
    def _teaches_something(self) -> Distil:
        losses = [name for name in Distil.model_fields if name not in ("teacher", "cross_entropy")]
        if all(getattr(self, name) is None for name in losses):
            raise ValueError(f"give at least one of {', '.join(losses)}")
        return self
