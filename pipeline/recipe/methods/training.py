"""Passes that find no ticket: training on, and quantisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgeticket.pipeline.recipe.config import Rate
from edgeticket.pipeline.recipe.methods.pass_config import PassConfig
from edgeticket.pipeline.recipe.parts import TrainConfig


class Finetune(PassConfig):
    """Train whatever the passes before it left."""

    method: Literal["finetune"]
    train: TrainConfig = TrainConfig(epochs=10, lr=0.02)


class Ptq(PassConfig):
    """Post-training quantisation to int8: decides the one set of scales."""

    decides_scales: ClassVar = True
    keeps_float32: ClassVar = True

    method: Literal["ptq"]
    # Activation ranges over the calibration set (data.calibration examples): the extremes; all but
    # a few of the largest values; or what makes the least squared error.
    ranges: Literal["minmax", "percentile", "mse"] = "minmax"
    # ranges: percentile; so many percent of the values lie inside either end.
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    weight_ranges: Literal["minmax", "mse"] = "minmax"  # for each output channel, symmetric
    # Even out the ranges of consecutive layers first (cross-layer equalisation).
    equalise: bool = False
    # Round each weight up or down so that its layer's output changes least, not to the nearest.
    rounding: Literal["nearest", "adaround"] = "nearest"
    # Cancel the mean error that rounding makes in each channel, through the biases.
    bias_correction: bool = False
    keep_fp32: tuple[str, ...] = ()  # layers that are not rounded, e.g. layer1.0.conv1

    @property
    def layers_in_fp32(self) -> tuple[str, ...]:
        return self.keep_fp32

    def calibration(self) -> Ptq:
        """How ranges are found, with the weights left where they are."""
        return self.model_copy(update={"rounding": "nearest", "bias_correction": False})


class Qat(PassConfig):
    """Quantisation-aware training: train with int8's rounding, then fix the scales.

    It starts from the scales of a `ptq` pass right before it, or else calibrates by itself.
    """

    decides_scales: ClassVar = True

    method: Literal["qat"]
    # How activation ranges move: trained by the loss (LSQ+), or as averages of batch extremes.
    ranges: Literal["learned", "averaged"] = "learned"
    range_lr: Rate = 1e-3  # ranges: learned; Adam's, on the logarithms of the scales
    # Share of the epochs after which ranges are fixed; at least the last epoch has them fixed.
    freeze_ranges_at: Annotated[float, Field(ge=0, le=1)] = 0.5
    keep_fp32: tuple[str, ...] = ()  # layers that are not rounded; after a ptq pass, say it there
    # bf16 holds until ranges are fixed, the rest is always trained in float32. Folded networks
    # have no normalisation that forgives large steps: momentum SGD at 0.002 destroys a ResNet-20.
    train: TrainConfig = TrainConfig(epochs=2, optimizer="adam", lr=1e-5, weight_decay=0.0)

    @property
    def layers_in_fp32(self) -> tuple[str, ...]:
        return self.keep_fp32

    def calibration(self) -> Ptq:
        """How ranges are found where no `ptq` pass came before."""
        return Ptq(method="ptq", ranges="mse", keep_fp32=self.keep_fp32)
