"""Ways of finding what can be removed physically: channels, and whole residual blocks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import Config, Count, Rate, Share
from edgeticket.pipeline.recipe.methods.pass_config import PassConfig
from edgeticket.pipeline.recipe.parts import BenchConfig, TrainConfig


class Budget(Config):
    """What the ticket may still cost, as a share of the dense network: one of the two."""

    macs: Share | None = None
    parameters: Share | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.macs is None) == (self.parameters is None):
            raise ValueError("give exactly one of macs, parameters")
        return self


class ChannelTicket(PassConfig):
    """A way of finding channels that can be removed physically, within a budget."""

    removes: ClassVar = "channels"

    method: str
    budget: Budget
    round_to: Count = 8  # channels are kept in multiples of this; int8 kernels want 8


class StochasticGates(ChannelTicket):
    """Find the channels that matter with stochastic gates, and remove the others physically.

    Gates are Yamada et al. 2020 (STG); the weights are trained along with them.
    """

    method: Literal["stochastic_gates"]
    # Noise of the gates: the first until the budget is reached, then falling to the second.
    sigma: tuple[float, float] = (0.5, 0.05)
    gate_lr: Annotated[float, Field(gt=0)] = 0.02  # Adam's, on the gates
    steer_until: Share = 0.7  # share of the run by which the budget is reached
    train: TrainConfig = TrainConfig(epochs=5, lr=0.02, warmup=0.0)


class ChannelMagnitude(ChannelTicket):
    """Remove the channels with the smallest norm over all the layers that write them."""

    method: Literal["channel_magnitude"]


class ChannelPenalty(ChannelTicket):
    """Train with a penalty that makes channels small, then remove the smallest."""

    method: Literal["channel_penalty"]
    # Norms of a channel's weights (group lasso), or scales of batch norm (network slimming).
    penalty: Literal["group_l2", "bn_l1"] = "group_l2"
    strength: Rate = 1e-4  # what the penalty is multiplied by in the loss
    train: TrainConfig = TrainConfig(epochs=5, lr=0.02, warmup=0.0)


class BlockBudget(Config):
    """What the ticket may still cost, as shares of the dense network; all that are given hold."""

    macs: Share | None = None
    parameters: Share | None = None
    latency: Share | None = None  # of the int8 network, measured on this machine, see `runtime`

    @model_validator(mode="after")
    def _at_least_one(self) -> BlockBudget:
        if self.macs is None and self.parameters is None and self.latency is None:
            raise ValueError("give at least one of macs, parameters, latency")
        return self


class ResidualBlocks(PassConfig):
    """Remove the residual blocks that the network misses least."""

    removes: ClassVar = "blocks"

    method: Literal["residual_blocks"]
    budget: BlockBudget
    examples: Count = 500  # training images by which the blocks are judged
    runtime: Literal["tflite", "ort"] = "tflite"  # whose latency counts
    bench: BenchConfig = BenchConfig(min_seconds=1.0, min_queries=200)  # how it is measured
