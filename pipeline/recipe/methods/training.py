"""Passes that find no ticket: training on, and quantisation."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from edgeticket.pipeline.recipe.config import METHOD, Count, Rate
from edgeticket.pipeline.recipe.methods.pass_config import PassConfig
from edgeticket.pipeline.recipe.parts import TrainConfig


class Finetune(PassConfig):
    """Train whatever the passes before it left."""

    method: Literal["finetune"] = Field(description=METHOD)
    train: TrainConfig = Field(
        default=TrainConfig(epochs=10, lr=0.02), description="How; masked weights stay zero."
    )


class Ptq(PassConfig):
    """Post-training quantisation to int8: decides the one set of scales."""

    decides_scales: ClassVar = True
    keeps_float32: ClassVar = True

    method: Literal["ptq"] = Field(description=METHOD)
    ranges: Literal["minmax", "percentile", "mse"] = Field(
        default="minmax",
        description="Activation ranges over the calibration set: the extremes; all but a few of "
        "the largest values; or what makes the least squared error.",
    )
    percentile: Annotated[float, Field(gt=50, le=100)] = Field(
        default=99.99,
        description="Of `ranges: percentile`: so many percent of the values lie inside either end.",
    )
    weight_ranges: Literal["minmax", "mse"] = Field(
        default="minmax", description="Of each output channel's weights, symmetric; as `ranges`."
    )
    equalise: bool = Field(
        default=False,
        description="Even out the ranges of consecutive layers first (cross-layer equalisation).",
    )
    rounding: Literal["nearest", "adaround"] = Field(
        default="nearest",
        description="`adaround` rounds each weight up or down so that its layer's output changes "
        "least, in minutes instead of seconds.",
    )
    bias_correction: bool = Field(
        default=False,
        description="Cancel the mean error that rounding makes in each channel, through the "
        "biases.",
    )
    keep_fp32: tuple[str, ...] = Field(
        default=(),
        description="Layers that are not rounded, e.g. layer1.0.conv1; `edgeticket sensitivity` "
        "says which cost most.",
    )
    max_drop: float | str | None = Field(
        default=None,
        description="Automatic mixed precision: keep as few layers in float32, beside those of "
        "`keep_fp32`, as hold this drop of the task's headline metric on validation. `0.3` is "
        "percentage points (or dB, or the unit of the metric), `1%` a part of the float32 score. "
        "`recipe.yaml` beside the bundle names the layers.",
    )
    max_tries: Count = Field(
        default=100,
        description="Of `max_drop`: after so many sets of layers the best of them is taken, and "
        "how many layers are needed at least is said.",
    )

    @field_validator("max_drop")
    @classmethod
    def _is_as_compare_takes_it(cls, drop: float | str | None) -> float | str | None:
        if drop is not None and not re.fullmatch(r"\d+(\.\d+)?(e[-+]?\d+)?%?", str(drop)):
            raise ValueError(
                "write 0.3 for percentage points (or dB, or the unit of the metric), or 1% for a "
                "part of the float32 score"
            )
        return drop

    @property
    def moves_weights(self) -> bool:
        return self.equalise or self.bias_correction or self.rounding != "nearest"

    @property
    def layers_in_fp32(self) -> tuple[str, ...]:
        return self.keep_fp32

    def calibration(self) -> Ptq:
        """How ranges are found, with the weights left where they are."""
        return self.model_copy(update={"rounding": "nearest", "bias_correction": False})


class Qat(PassConfig):
    """Quantisation-aware training: train with int8's rounding, then fix the scales.

    It starts from the scales of a `ptq` pass right before it, or else calibrates by itself. On
    examples without targets it learns to answer as the float32 network does.
    """

    decides_scales: ClassVar = True

    method: Literal["qat"] = Field(description=METHOD)
    ranges: Literal["learned", "averaged"] = Field(
        default="learned",
        description="How activation ranges move: trained by the loss (LSQ+), or as averages of "
        "batch extremes.",
    )
    range_lr: Rate = Field(
        default=1e-3,
        description="Of `ranges: learned`: Adam's learning rate on the logarithms of the scales.",
    )
    freeze_ranges_at: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="Share of the epochs after which ranges are fixed; at least the last epoch has "
        "them fixed. `bf16` holds until then.",
    )
    keep_fp32: tuple[str, ...] = Field(
        default=(), description="Layers that are not rounded; after a `ptq` pass, say it there."
    )
    train: TrainConfig = Field(
        default=TrainConfig(epochs=2, optimizer="adam", lr=1e-5, weight_decay=0.0),
        description="Folded networks have no normalisation that forgives large steps: momentum SGD "
        "at 0.002 destroys a ResNet-20.",
    )

    @property
    def needs_targets(self) -> bool:
        return False

    @property
    def layers_in_fp32(self) -> tuple[str, ...]:
        return self.keep_fp32

    def calibration(self) -> Ptq:
        """How ranges are found where no `ptq` pass came before."""
        return Ptq(method="ptq", ranges="mse", keep_fp32=self.keep_fp32)
