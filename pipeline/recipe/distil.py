"""What a recipe may say about distillation: who teaches, and which losses.

docs/distillation.md explains the losses; `pipeline.train.distil` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from edgeticket.pipeline.recipe.config import Config, Count

DENSE = "dense"  # the name of what a recipe's passes start from

Weight = Annotated[float, Field(gt=0)]
Temperature = Annotated[float, Field(gt=0)]
# Behind a validator that runs before, strict validation takes no list for a tuple.
Numbers = Annotated[
    tuple[float, ...],
    BeforeValidator(
        lambda given: tuple(given) if isinstance(given, list) else given,
        json_schema_input_type=tuple[float, ...],
    ),
]


class TeacherConfig(Config):
    """A network of the same run, or an imported one.

    In a recipe ``teacher: dense`` is short for ``teacher: {step: dense}``.
    """

    step: str | None = Field(
        default=None,
        description="A network of this run: `dense`, or an earlier pass by its method or its "
        "position in `compress` (0 is the first).",
    )
    weights: str | None = Field(
        default=None,
        description="Or a network from elsewhere: a file, looked up as `model.weights` is.",
    )
    arch: str | None = Field(default=None, description="The architecture that `weights` are of.")
    args: Mapping[str, bool | int | float | str] = Field(
        default={}, description="Arguments of `arch`."
    )
    pixel_mean: Numbers | None = Field(
        default=None,
        description="Of the pixels that `weights` were trained with, as `model.pixel_mean`.",
    )
    pixel_std: Numbers | None = Field(default=None, description="Likewise; give both.")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A word or a position is a teacher, too."""
        return {"anyOf": [handler(core_schema), {"type": "string"}, {"type": "integer"}]}

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
    tuple[
        Annotated[
            tuple[str, str], BeforeValidator(_pair, json_schema_input_type=str | tuple[str, str])
        ],
        ...,
    ],
    AfterValidator(_some),
]


class SoftTargets(Config):
    """Match the teacher's softened probabilities (Hinton et al. 2015)."""

    weight: Weight = Field(default=1.0, description="What this loss is multiplied by.")
    temperature: Temperature = Field(
        default=4.0, description="Logits are divided by it on both sides: higher is softer."
    )
    output: Annotated[int, Field(ge=0)] = Field(
        default=0, description="The number of the output that has the logits, [N, classes, ...]."
    )


class Outputs(Config):
    """Match outputs, whatever they mean."""

    weight: Weight = Field(default=1.0, description="What this loss is multiplied by.")
    which: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None, description="Numbers of outputs, from 0. Default: all of them."
    )
    loss: Literal["mse", "l1", "cosine"] = Field(
        default="mse",
        description="The mean squared or absolute difference, or 1 − cosine of all that belongs "
        "to an example.",
    )


class Decoupled(Config):
    """Soft targets with a weight of its own for the wrong classes (DKD, Zhao et al. 2022)."""

    weight: Weight = Field(default=1.0, description="What this loss is multiplied by.")
    temperature: Temperature = Field(
        default=4.0, description="Logits are divided by it on both sides: higher is softer."
    )
    alpha: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Weight of the right class against all others."
    )
    beta: Annotated[float, Field(ge=0)] = Field(
        default=8.0, description="Weight of what is among the others; the paper's for CIFAR-100."
    )


class Features(Config):
    """Match feature maps through a learned 1×1 convolution (hints, Romero et al. 2015)."""

    layers: Layers = Field(
        description="Names of layers, or pairs: the network's and its teacher's."
    )
    weight: Weight = Field(default=1.0, description="What this loss is multiplied by.")


class Attention(Config):
    """Match where layers are active (attention transfer, Zagoruyko and Komodakis 2017)."""

    layers: Layers = Field(
        description="Names of layers, or pairs: the network's and its teacher's."
    )
    weight: Weight = Field(
        default=1000.0,
        description="What this loss is multiplied by; large, because it is a mean of squares of "
        "small numbers.",
    )


class Review(Config):
    """Match each layer of the teacher with several of the network (Chen et al. 2021)."""

    layers: Layers = Field(description="Layers as for `features`, from the input to the output.")
    weight: Weight = Field(default=1.0, description="What this loss is multiplied by.")
    width: Count = Field(default=64, description="Channels of what is merged.")


class Distil(Config):
    """What a teacher adds to a training: the losses that are given, weighted, are summed up."""

    teacher: TeacherConfig = Field(
        default=TeacherConfig(step=DENSE), description="Who teaches; a word alone is its `step`."
    )
    cross_entropy: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Weight of the loss on the labels."
    )
    soft_targets: SoftTargets | None = Field(
        default=None, description="The teacher's probabilities."
    )
    outputs: Outputs | None = Field(default=None, description="Outputs as they are.")
    dkd: Decoupled | None = Field(
        default=None, description="The same, with right and wrong classes apart."
    )
    features: Features | None = Field(default=None, description="What layers put out.")
    attention: Attention | None = Field(default=None, description="Where layers are active.")
    review: Review | None = Field(default=None, description="What layers put out, across depths.")

    @model_validator(mode="after")
    def _teaches_something(self) -> Distil:
        losses = [name for name in Distil.model_fields if name not in ("teacher", "cross_entropy")]
        if all(getattr(self, name) is None for name in losses):
            raise ValueError(f"give at least one of {', '.join(losses)}")
        return self
