"""Ways of finding what can be removed physically: channels, and whole residual blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import METHOD, Config, Count, Rate, Share
from edgeticket.pipeline.recipe.methods.pass_config import PassConfig
from edgeticket.pipeline.recipe.parts import BenchConfig, TrainConfig


class Budget(Config):
    """What the ticket may still cost, as a share of the dense network: one of the two."""

    macs: Share | None = Field(
        default=None, description="Share of the multiply-accumulates that may stay."
    )
    parameters: Share | None = Field(
        default=None, description="Share of the parameters that may stay."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.macs is None) == (self.parameters is None):
            raise ValueError("give exactly one of macs, parameters")
        return self


class ChannelTicket(PassConfig):
    """A way of finding channels that can be removed physically, within a budget."""

    removes: ClassVar = "channels"

    method: str = Field(description=METHOD)
    budget: Budget = Field(description="What the ticket may still cost.")
    round_to: Count = Field(
        default=8, description="Channels are kept in multiples of this; int8 kernels want 8."
    )


class StochasticGates(ChannelTicket):
    """Find the channels that matter with stochastic gates, and remove the others physically.

    Gates are Yamada et al. 2020 (STG); the weights are trained along with them.
    """

    method: Literal["stochastic_gates"] = Field(description=METHOD)
    sigma: tuple[float, float] = Field(
        default=(0.5, 0.05),
        description="Standard deviation of the gates' noise: the first until the budget is "
        "reached, then falling to the second.",
    )
    gate_lr: Annotated[float, Field(gt=0)] = Field(
        default=0.02, description="Adam's learning rate, on the gates."
    )
    steer_until: Share = Field(
        default=0.7, description="Share of the run by which the budget is reached."
    )
    train: TrainConfig = Field(
        default=TrainConfig(epochs=5, lr=0.02, warmup=0.0),
        description="The run that gates learn in.",
    )


class ChannelMagnitude(ChannelTicket):
    """Remove the channels with the smallest norm over all the layers that write them."""

    method: Literal["channel_magnitude"] = Field(description=METHOD)


class Structure(PassConfig):
    """Keep a structure that was chosen elsewhere, as `edgeticket search` does.

    Of each group the channels with the largest norms over all the layers that write them stay.
    """

    removes: ClassVar = "channels"

    method: Literal["structure"] = Field(description=METHOD)
    keep: Mapping[str, Count] = Field(
        default={},
        description="Group of channels, called by its first layer -> how many of them stay; "
        "others keep all. `edgeticket predict --json` lists them.",
    )
    bypass: tuple[str, ...] = Field(
        default=(), description="Residual blocks that are bypassed, e.g. layer1.2."
    )


class ChannelPenalty(ChannelTicket):
    """Train with a penalty that makes channels small, then remove the smallest."""

    method: Literal["channel_penalty"] = Field(description=METHOD)
    penalty: Literal["group_l2", "bn_l1"] = Field(
        default="group_l2",
        description="On norms of a channel's weights (group lasso), or on the scales of batch norm "
        "(network slimming).",
    )
    strength: Rate = Field(
        default=1e-4,
        description="What the penalty is multiplied by in the loss; has to be tried out.",
    )
    train: TrainConfig = Field(
        default=TrainConfig(epochs=5, lr=0.02, warmup=0.0),
        description="The run that makes channels small.",
    )


class BlockBudget(Config):
    """What the ticket may still cost, as shares of the dense network; all that are given hold."""

    macs: Share | None = Field(
        default=None, description="Share of the multiply-accumulates that may stay."
    )
    parameters: Share | None = Field(
        default=None, description="Share of the parameters that may stay."
    )
    latency: Share | None = Field(
        default=None,
        description="Share of the int8 network's latency that may stay, as this machine measures "
        "it with `runtime`.",
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> BlockBudget:
        if self.macs is None and self.parameters is None and self.latency is None:
            raise ValueError("give at least one of macs, parameters, latency")
        return self


class ResidualBlocks(PassConfig):
    """Remove the residual blocks that the network misses least."""

    removes: ClassVar = "blocks"

    method: Literal["residual_blocks"] = Field(description=METHOD)
    budget: BlockBudget = Field(description="What the ticket may still cost.")
    examples: Count = Field(
        default=500, description="Training examples by which blocks are judged."
    )
    runtime: Literal["tflite", "ort"] = Field(default="tflite", description="Whose latency counts.")
    bench: BenchConfig = Field(
        default=BenchConfig(min_seconds=1.0, min_queries=200),
        description="How latency is measured.",
    )
